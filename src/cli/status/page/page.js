// Brings what is new of the page, part by part. Without it the page loads anew.
"use strict";
(() => {
  const PERIOD = 2000;
  const note = document.getElementById("read");
  let paused = false;

  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  const label = () => {
    button.textContent = paused ? "Go on" : "Hold still";
    button.setAttribute("aria-pressed", String(paused));
  };
  button.addEventListener("click", () => {
    paused = !paused;
    label();
  });
  label();
  note.after(" ", button);

  // What the reader has opened, scrolled and focused stays so.
  function keepState(before, now) {
    for (const element of now.querySelectorAll("details[id]")) {
      const earlier = document.getElementById(element.id);
      element.toggleAttribute("open", Boolean(earlier && earlier.open));
    }
    const scrolled = [...before.querySelectorAll(".scroll[id]")].map((element) => [element.id, element.scrollLeft]);
    const focused = before.contains(document.activeElement) ? document.activeElement.closest("[id]") : null;
    return () => {
      for (const [id, left] of scrolled) {
        const element = document.getElementById(id);
        if (element) element.scrollLeft = left;
      }
      const again = focused && document.getElementById(focused.id);
      if (again) (again.querySelector("summary") || again).focus({ preventScroll: true });
    };
  }

  function isSelectedIn(element) {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && selection.containsNode(element, true));
  }

  function replace(fresh) {
    for (const before of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(before.id);
      if (!now || isSelectedIn(before)) continue;
      const restore = keepState(before, now);
      if (now.isEqualNode(before)) continue;
      if (before.getAttribute("role") === "status") {
        // The same element with other contents: that is what is read out.
        before.replaceChildren(...now.childNodes);
      } else {
        before.replaceWith(now);
        restore();
      }
    }
  }

  async function refresh() {
    if (!paused && !document.hidden) {
      try {
        const reply = await fetch("/", { cache: "no-store" });
        if (!reply.ok) throw new Error(reply.statusText);
        replace(new DOMParser().parseFromString(await reply.text(), "text/html"));
        note.classList.remove("wrong");
      } catch {
        const text = "The page is not served any more: start 'crds-fs status --serve' again.";
        const now = document.getElementById("read");
        if (now.textContent !== text) now.textContent = text;
        now.classList.add("wrong");
      }
    }
    setTimeout(refresh, PERIOD);
  }
  setTimeout(refresh, PERIOD);
})();
