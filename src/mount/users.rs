//! The users of a mount, found by reading links below `/proc`: the mount itself, which may be dead, is never touched.
//!
//! The process that serves the mount is no user of it, although its store may be the directory below.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// The most processes that are named.
const NAMED: usize = 5;

/// The longest wait for the list: looking at a process that hangs may hang as well.
const PATIENCE: Duration = Duration::from_secs(2);

/// The processes seen to use the mount, as ` by name (pid), ...`, or nothing when none is visible. `server` serves it.
pub(super) fn describe(mountpoint: &Path, server: Option<u32>) -> String {
    let (sender, receiver) = mpsc::channel();
    let mountpoint = mountpoint.to_owned();
    std::thread::spawn(move || sender.send(look(&mountpoint, server)));
    receiver.recv_timeout(PATIENCE).unwrap_or_default()
}

fn look(mountpoint: &Path, server: Option<u32>) -> String {
    let mut users = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // This process, which asks, is about to end.
        if pid != std::process::id() && Some(pid) != server && uses(&process.path(), mountpoint) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            users.push(format!("{} ({pid})", name.trim()));
        }
    }
    let more = users.len().saturating_sub(NAMED);
    users.truncate(NAMED);
    match (users.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(" by {}", users.join(", ")),
        (false, _) => format!(" by {} and {more} more", users.join(", ")),
    }
}

fn uses(process: &Path, mountpoint: &Path) -> bool {
    let below = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(mountpoint));
    below(&process.join("cwd"))
        || below(&process.join("root"))
        || fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|open| below(&open.path()))
        || fs::read_to_string(process.join("maps")).is_ok_and(|maps| {
            maps.lines()
                .filter_map(|line| line.find('/').and_then(|start| line.get(start..)))
                .any(|file| Path::new(file).starts_with(mountpoint))
        })
}

#[cfg(test)]
mod tests {
    #[test]
    fn sees_a_process_with_an_open_file() {
        let directory = tempfile::tempdir().unwrap();
        let mountpoint = directory.path().canonicalize().unwrap();
        assert_eq!(super::describe(&mountpoint, None), "");
        let open = std::fs::File::create(mountpoint.join("held")).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdout(open)
            .spawn()
            .unwrap();
        let seen = super::describe(&mountpoint, None);
        let seen_but_for_the_server = super::describe(&mountpoint, Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.contains(&format!("({})", child.id())), "{seen}");
        assert_eq!(seen_but_for_the_server, "");
    }
}
