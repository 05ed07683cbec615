//! The form for best references, and what came of it.

use maud::{Markup, html};

use super::text::count;
use crate::cli::output;
use crate::cli::status::page::lookup::{Answer, MAX_TEXT, Mistakes, Refusal};
use crate::resolve::TypeAnswer;
use crate::tree::report::{FileReport, StatusReport};

/// The form as it was sent.
pub(in crate::cli::status::page) struct Form {
    pub(in crate::cli::status::page) context: String,
    pub(in crate::cli::status::page) dataset: String,
    pub(in crate::cli::status::page) outcome: Outcome,
}

/// The outcome of a question.
pub(in crate::cli::status::page) enum Outcome {
    NotAsked,
    Wrong(Mistakes),
    Refused(Refusal),
    Found(Answer),
}

/// The context that stands in the form at first: the default one of the first observatory.
pub(in crate::cli::status::page) fn default_context(status: &StatusReport) -> String {
    let ready = status.observatories.iter().find(|one| one.context.is_some());
    let first = ready.or(status.observatories.first());
    first.map_or_else(String::new, |one| format!("{}-latest", one.name))
}

pub(super) fn content(status: &StatusReport, form: &Form) -> Markup {
    html! {
        section aria-labelledby="form-title" {
            h2 #form-title { "Best references of a dataset" }
            (fields(status, form))
        }
        @match &form.outcome {
            Outcome::NotAsked | Outcome::Wrong(_) => {}
            Outcome::Refused(refusal) => (refused(refusal)),
            Outcome::Found(answer) => (found(answer)),
        }
    }
}

fn fields(status: &StatusReport, form: &Form) -> Markup {
    let nothing = Mistakes::default();
    let mistakes = match &form.outcome {
        Outcome::Wrong(mistakes) => mistakes,
        _ => &nothing,
    };
    html! {
        form method="get" action="/bestrefs" {
            (field("dataset", "Dataset", &form.dataset, mistakes.dataset.as_deref(), None, &html! {
                "An id of the archive, the name of a product of it, or the parameters themselves: "
                code { "KEY=VALUE,KEY=VALUE" } ", with " code { "%2C" } " " code { "%3D" } " " code { "%2F" } " for a comma, an equals sign and a slash in a value."
            }))
            (field("context", "Context", &form.context, mistakes.context.as_deref(), Some("contexts"), &html! {
                "A name such as " code { "jwst-latest" } ", a date as in " code { "hst-2025-01-31" } ", or a mapping."
            }))
            datalist #contexts {
                @for one in &status.observatories {
                    @for tag in ["latest", "edit"] { option value={ (one.name) "-" (tag) } {} }
                    @if let Some(context) = &one.context { option value=(context) {} }
                }
            }
            button type="submit" { "Look up" }
        }
    }
}

fn field(
    name: &str,
    label: &str,
    value: &str,
    wrong: Option<&str>,
    list: Option<&str>,
    hint: &Markup,
) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            input #(name) name=(name) value=(value) list=[list] maxlength=(MAX_TEXT) required autocomplete="off"
                autocapitalize="off" spellcheck="false" aria-describedby={ (name) "-hint" @if wrong.is_some() { " " (name) "-wrong" } }
                aria-invalid=[wrong.map(|_| "true")];
            @if let Some(wrong) = wrong { p.wrong id={ (name) "-wrong" } { (wrong) } }
            p.hint id={ (name) "-hint" } { (hint) }
        }
    }
}

fn refused(refusal: &Refusal) -> Markup {
    let (what, why) = match refusal {
        Refusal::Busy => (
            "Not now",
            "Several lookups are under way: send it again in a moment.",
        ),
        Refusal::Unknown(why) => ("There is no answer", why.as_str()),
        Refusal::Failed(why) => ("It could not be looked up", why.as_str()),
    };
    html! {
        section aria-labelledby="outcome-title" {
            ul.items { li.bad { h2 #outcome-title.what { (what) } p { (why) } } }
        }
    }
}

fn found(answer: &Answer) -> Markup {
    let (with, without): (Vec<_>, Vec<_>) = answer
        .types
        .iter()
        .partition(|(_, answer)| answer.reason().is_none());
    html! {
        section aria-labelledby="outcome-title" {
            h2 #outcome-title { "Under " code { (answer.context) } }
            p {
                code { (answer.dataset) } ": " (count(with.len() as u64)) " types have a best reference, " (count(without.len() as u64))
                " have none. "
                span.more { "Worked out by the " (answer.computed_by) " at " (answer.computed_at) "." }
            }
            @if !with.is_empty() { (references(answer, &with)) }
            @if !without.is_empty() { (reasons(&without)) }
            (explanations(answer))
        }
    }
}

fn references(answer: &Answer, with: &[(&String, &TypeAnswer)]) -> Markup {
    html! {
        div.scroll #references-scroll tabindex="0" role="region" aria-label="Table of best references" {
            table {
                caption { "Best references" }
                thead {
                    tr {
                        th scope="col" { "Type" }
                        th scope="col" { "Reference" }
                        th.number scope="col" { "Size" }
                        th scope="col" { "Copy" }
                    }
                }
                tbody {
                    @for (reftype, types) in with {
                        @for (place, name) in types.files().enumerate() {
                            @let file = answer.files.get(name.as_str());
                            tr {
                                th scope="row" { @if place == 0 { (explained(answer, reftype)) } @else { span.more { (reftype) } } }
                                td { code { (name.as_str()) } }
                                td.number { (file.and_then(|file| file.size).map_or_else(|| "–".to_owned(), output::size)) }
                                td { (copy(file)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The name of a type, with a link to its reasons.
fn explained(answer: &Answer, reftype: &str) -> Markup {
    html! {
        @if answer.explanations.contains_key(reftype) {
            a href={ "#why-" (reftype) } { (reftype) }
        } @else { (reftype) }
    }
}

/// Whether a file is here.
fn copy(file: Option<&FileReport>) -> Markup {
    let (class, word) = match file.map(|file| file.state.as_str()) {
        Some("cached") => ("good", "here"),
        Some("local") => ("warn", "your own"),
        Some("fetching") => ("idle", "coming"),
        Some("remote") => ("idle", "at the server"),
        _ => ("idle", "not known"),
    };
    html! { span.state.(class) { (word) } }
}

fn reasons(without: &[(&String, &TypeAnswer)]) -> Markup {
    html! {
        div.scroll #reasons-scroll tabindex="0" role="region" aria-label="Table of types without a reference" {
            table {
                caption { "Types without a reference" }
                thead { tr { th scope="col" { "Type" } th scope="col" { "Reason" } } }
                tbody {
                    @for (reftype, answer) in without {
                        tr { th scope="row" { (reftype) } td { (answer.reason().unwrap_or_default()) } }
                    }
                }
            }
        }
    }
}

fn explanations(answer: &Answer) -> Markup {
    html! {
        h3 { "Why" }
        @if let Some(why) = &answer.unexplained { p.none { (why) } }
        @for (reftype, text) in &answer.explanations {
            details {
                summary { (reftype) }
                // A link to what is inside opens it.
                pre #{ "why-" (reftype) } tabindex="0" { (text) }
            }
        }
    }
}
