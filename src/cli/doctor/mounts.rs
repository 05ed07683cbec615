//! Checks of the mounts of ours.

use std::path::PathBuf;

use super::check::{Check, State};
use crate::machine::shell_word;
use crate::mount::health::Health;
use crate::tree::report::StatusReport;

/// One mount.
#[derive(Debug, Clone)]
pub(super) struct MountFacts {
    pub(super) mountpoint: PathBuf,
    pub(super) health: Health,
    /// Its own report, where it answers.
    pub(super) report: Option<StatusReport>,
    /// The user who made it, if that is another one.
    pub(super) other_owner: Option<String>,
}

pub(super) fn checks(mounts: &[MountFacts]) -> Vec<Check> {
    if mounts.is_empty() {
        return vec![Check::ok("mounts", "none of yours")];
    }
    mounts.iter().map(check_of_owner).collect()
}

/// The check of a mount; that of another user's has nothing that this one must mend.
fn check_of_owner(mount: &MountFacts) -> Check {
    let found = check(mount);
    let Some(owner) = &mount.other_owner else {
        return found;
    };
    let state = match found.state {
        State::Wrong => State::Note,
        // Of what others mount root sees nothing, unless they let it in.
        _ if mount.health == Health::Answers && mount.report.is_none() => {
            return Check::ok(found.name, format!("of {owner}: answers"));
        }
        state => state,
    };
    Check {
        state,
        message: format!("of {owner}: {}", found.message),
        ..found
    }
}

fn check(mount: &MountFacts) -> Check {
    let path = mount.mountpoint.display().to_string();
    let word = shell_word(&path);
    match mount.health {
        Health::Answers => {}
        Health::Dead => {
            return Check::wrong(path, "its process has died").mended_by(format!("crds-fs umount {word}"));
        }
        Health::Hanging => {
            return Check::wrong(
                path,
                "its process has died, and the kernel still waits for its answers",
            )
            .mended_by(format!("crds-fs umount {word}"));
        }
        Health::Unresponsive { pid } => {
            let process = pid.map_or_else(String::new, |pid| format!(", though its process {pid} lives"));
            return Check::wrong(path, format!("it does not answer{process}"))
                .mended_by(format!("crds-fs umount --lazy {word}"));
        }
    }
    let Some(report) = &mount.report else {
        return Check::note(path, "it answers, but not what its state is");
    };
    let told = |observatory: &crate::tree::report::ObservatoryReport| {
        let error = observatory.error.as_ref()?;
        Some(format!("{}: {}", observatory.name, error.message))
    };
    let mut troubles: Vec<String> = report.observatories.iter().filter_map(told).collect();
    let of_context = report.observatories.iter();
    troubles.extend(of_context.filter_map(|observatory| observatory.context_error.clone()));
    if report.last_panic.is_some() {
        troubles.push("it has met a mistake in crds-fs".to_owned());
    }
    let offline = if report.offline { ", offline" } else { "" };
    if troubles.is_empty() {
        return Check::ok(path, format!("answers{offline}"));
    }
    Check::note(
        path,
        format!("answers{offline}, with trouble: {}", troubles.join("; ")),
    )
    .mended_by(format!("crds-fs status {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(health: Health) -> Check {
        let mount = MountFacts {
            mountpoint: "/my crds".into(),
            health,
            report: Some(StatusReport::default()),
            other_owner: None,
        };
        checks(&[mount]).remove(0)
    }

    #[test]
    fn dead_and_silent_mounts_are_taken_away() {
        assert_eq!(check_of(Health::Answers).state, State::Ok);
        for health in [Health::Dead, Health::Hanging] {
            let check = check_of(health);
            assert_eq!(check.state, State::Wrong);
            assert_eq!(check.remedy.as_deref(), Some("crds-fs umount '/my crds'"));
        }
        let silent = check_of(Health::Unresponsive { pid: Some(7) });
        assert!(silent.message.contains('7'), "{silent:?}");
        assert_eq!(silent.remedy.as_deref(), Some("crds-fs umount --lazy '/my crds'"));
        assert_eq!(checks(&[]).len(), 1);
    }

    #[test]
    fn mounts_of_others_are_noted() {
        let of = |health, report| {
            let mount = MountFacts {
                mountpoint: "/crds".into(),
                health,
                report,
                other_owner: Some("you".into()),
            };
            checks(&[mount]).remove(0)
        };
        let dead = of(Health::Dead, None);
        assert_eq!(dead.state, State::Note);
        assert!(
            dead.message.starts_with("of you: its process has died"),
            "{dead:?}"
        );
        assert!(dead.remedy.is_some());
        assert_eq!(of(Health::Answers, None).state, State::Ok);
        assert_eq!(
            of(Health::Answers, Some(StatusReport::default())).state,
            State::Ok
        );
    }

    #[test]
    fn the_trouble_of_a_mount_is_told() {
        let mut report = StatusReport::default();
        report.observatories.push(crate::tree::report::ObservatoryReport {
            name: "hst".into(),
            context_error: Some("the context is unknown".into()),
            ..Default::default()
        });
        let mount = MountFacts {
            mountpoint: "/crds".into(),
            health: Health::Answers,
            report: Some(report),
            other_owner: None,
        };
        let check = checks(&[mount]).remove(0);
        assert_eq!(check.state, State::Note);
        assert!(check.message.contains("the context is unknown"), "{check:?}");
    }
}
