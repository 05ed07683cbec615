//! Checks of the mounts of ours.

use std::path::PathBuf;

use super::check::Check;
use crate::machine::shell_word;
use crate::mount::health::Health;
use crate::tree::report::StatusReport;

/// One mount.
#[derive(Debug, Clone)]
pub(super) struct MountFacts {
    pub(super) mountpoint: PathBuf,
    pub(super) health: Health,
    /// What it says of itself, where it answers.
    pub(super) report: Option<StatusReport>,
}

pub(super) fn checks(mounts: &[MountFacts]) -> Vec<Check> {
    if mounts.is_empty() {
        return vec![Check::ok("mounts", "none of yours")];
    }
    mounts.iter().map(check).collect()
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
    use super::super::check::State;
    use super::*;

    fn check_of(health: Health) -> Check {
        let mount = MountFacts {
            mountpoint: "/my crds".into(),
            health,
            report: Some(StatusReport::default()),
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
        };
        let check = checks(&[mount]).remove(0);
        assert_eq!(check.state, State::Note);
        assert!(check.message.contains("the context is unknown"), "{check:?}");
    }
}
