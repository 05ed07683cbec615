//! Checks of FUSE, of the rights to mount, and of the kernel.

use nix::errno::Errno;

use super::check::Check;
use crate::machine::{Advice, CONTAINER_WITH_FUSE, as_root, shell_word};
use crate::mount::helper::{self, Helper};
use crate::mount::trial::{Step, Trial};

/// The facts.
#[derive(Debug, Clone)]
pub(super) struct MachineFacts {
    /// The release of the kernel; empty where it is not known.
    pub(super) kernel: String,
    /// The reason why the FUSE device cannot be opened, and the advice.
    pub(super) device: Result<(), Advice>,
    /// The helper for ordinary users.
    pub(super) helper: Option<Helper>,
    /// Whether this process gets no rights by running programs (`no_new_privs`).
    pub(super) no_new_rights: bool,
    pub(super) is_root: bool,
    /// Whether other users are to be let in.
    pub(super) allow_other: bool,
    /// The results of trying.
    pub(super) trial: Trial,
    /// The advice on a namespace that was refused.
    pub(super) namespace_advice: Advice,
    /// The advice on limits for requests.
    pub(super) request_timeouts: Vec<Advice>,
    /// The path of this program.
    pub(super) program: String,
}

impl MachineFacts {
    /// Whether mount(2) is open to this user. Without a trial root is believed to be one.
    fn mounts_directly(&self) -> bool {
        let trial = &self.trial;
        let is_refused =
            matches!(trial.mount, Step::Refused(Errno::EPERM | Errno::EACCES)) && self.device.is_ok();
        (trial.is_administrator && !is_refused) || (self.is_root && trial.namespace == Step::NotTried)
    }
}

pub(super) fn checks(facts: &MachineFacts) -> Vec<Check> {
    let mut checks = vec![kernel(facts), device(facts)];
    checks.push(mounting(facts));
    checks.extend(allow_other(facts));
    checks.push(namespace(facts));
    checks.push(passthrough(facts));
    let timeouts = facts.request_timeouts.iter().cloned();
    checks.extend(timeouts.map(|advice| Check::wrong("request timeout", "").advised(advice)));
    checks
}

fn kernel(facts: &MachineFacts) -> Check {
    if facts.kernel.is_empty() {
        return Check::note("kernel", "its version is not known");
    }
    Check::ok("kernel", format!("Linux {}", facts.kernel))
}

fn device(facts: &MachineFacts) -> Check {
    match &facts.device {
        Ok(()) => Check::ok("/dev/fuse", "open to you"),
        Err(advice) => Check::wrong("/dev/fuse", "it cannot be opened").advised(advice.clone()),
    }
}

/// The way to mount: mount(2), or the helper.
fn mounting(facts: &MachineFacts) -> Check {
    let name = "fusermount3";
    if facts.mounts_directly() {
        return Check::ok(name, "not needed: you may mount without it");
    }
    let Some(helper) = &facts.helper else {
        return Check::wrong(name, "").advised(helper::missing());
    };
    if facts.no_new_rights {
        return Check::wrong(
            name,
            "programs started here get no rights (no_new_privs), so it cannot mount",
        )
        .mended_by(
            "docker run --device /dev/fuse --cap-add SYS_ADMIN --security-opt no-new-privileges=false IMAGE",
        );
    }
    if facts.is_root {
        return Check::wrong(
            name,
            "this root may not mount (no CAP_SYS_ADMIN), nor may the helper",
        )
        .mended_by(CONTAINER_WITH_FUSE);
    }
    if helper.is_set_uid {
        Check::ok(name, helper.path.display().to_string())
    } else {
        Check::wrong(name, "").advised(Helper::without_rights(&helper.path))
    }
}

fn allow_other(facts: &MachineFacts) -> Option<Check> {
    let name = "allow_other";
    if !facts.allow_other || facts.mounts_directly() {
        return None;
    }
    let helper = facts.helper.as_ref()?;
    Some(if helper.lets_others_in {
        Check::ok(name, format!("{} allows it", helper::SETTINGS))
    } else {
        Check::wrong(name, "").advised(Helper::keeps_others_out())
    })
}

/// Private namespaces, which `crds-fs run` needs.
fn namespace(facts: &MachineFacts) -> Check {
    let name = "namespaces";
    let trial = &facts.trial;
    let refused = |what: &str| Check::note(name, what).advised(facts.namespace_advice.clone());
    match (trial.namespace, trial.mount, &facts.device) {
        (Step::Works, Step::Works, _) => Check::ok(name, "a private mount works, as for 'crds-fs run'"),
        (Step::Works, _, Err(_)) => Check::ok(name, "there can be private ones, as for 'crds-fs run'"),
        (Step::Works, Step::Refused(error), _) => refused(&format!(
            "'crds-fs run' cannot mount in a private one ({})",
            error.desc()
        )),
        (Step::Refused(_), ..) => refused("'crds-fs run' does not work"),
        (Step::NotTried, ..) | (_, Step::NotTried, _) => Check::note(name, "this could not be tried in time"),
    }
}

fn passthrough(facts: &MachineFacts) -> Check {
    let name = "passthrough";
    let slower = "cached files are read through crds-fs, at a lower speed";
    match facts.trial.passthrough {
        Step::Works => Check::ok(name, "the kernel reads cached files itself"),
        Step::Refused(Errno::EPERM) => Check::note(
            name,
            format!("{slower}: the kernel reads them itself only for who has CAP_SYS_ADMIN"),
        )
        .mended_by(as_root(&format!(
            "setcap cap_sys_admin+ep {}",
            shell_word(&facts.program)
        ))),
        Step::Refused(Errno::ENOSYS) => Check::note(
            name,
            format!("{slower}: this kernel cannot do it (Linux 6.9 and later can)"),
        ),
        Step::Refused(error) => Check::note(name, format!("{slower}: {}", error.desc())),
        Step::NotTried => Check::note(name, "it could not be tried without a mount"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{State, assert_found};
    use super::*;

    fn well() -> MachineFacts {
        MachineFacts {
            kernel: "6.18.44".into(),
            device: Ok(()),
            helper: Some(Helper {
                path: "/usr/bin/fusermount3".into(),
                is_set_uid: true,
                lets_others_in: false,
            }),
            no_new_rights: false,
            is_root: false,
            allow_other: false,
            trial: Trial {
                namespace: Step::Works,
                is_administrator: false,
                mount: Step::Works,
                passthrough: Step::Refused(Errno::EPERM),
            },
            namespace_advice: Advice::new("AppArmor says no", "sysctl -w x=0"),
            request_timeouts: Vec::new(),
            program: "/usr/bin/crds-fs".into(),
        }
    }

    #[track_caller]
    fn find(facts: &MachineFacts, name: &str) -> Check {
        let found = checks(facts).into_iter().find(|check| check.name == name);
        found.unwrap()
    }

    #[track_caller]
    fn finds(facts: &MachineFacts, name: &str, state: State, remedy: &str) {
        assert_found(&checks(facts), name, state, remedy);
    }

    #[test]
    fn an_ordinary_user_has_notes_at_most() {
        let found = checks(&well());
        assert!(found.iter().all(|check| check.state != State::Wrong), "{found:?}");
        finds(
            &well(),
            "passthrough",
            State::Note,
            "setcap cap_sys_admin+ep /usr/bin/crds-fs",
        );
        let root = MachineFacts {
            is_root: true,
            helper: None,
            trial: Trial {
                is_administrator: true,
                passthrough: Step::Works,
                ..well().trial
            },
            ..well()
        };
        assert!(checks(&root).iter().all(|check| check.state == State::Ok));
    }

    #[test]
    fn without_the_device_nothing_is_mounted() {
        let facts = MachineFacts {
            device: Err(Advice::new("this kernel has no FUSE", "modprobe fuse")),
            trial: Trial {
                mount: Step::Refused(Errno::ENOENT),
                passthrough: Step::NotTried,
                ..well().trial
            },
            ..well()
        };
        finds(&facts, "/dev/fuse", State::Wrong, "modprobe fuse");
        assert_eq!(find(&facts, "namespaces").state, State::Ok);
        assert_eq!(find(&facts, "passthrough").state, State::Note);
    }

    #[test]
    fn the_helper_must_be_there_with_its_rights() {
        let missing = MachineFacts {
            helper: None,
            ..well()
        };
        let found = find(&missing, "fusermount3");
        assert_eq!(found.state, State::Wrong);
        assert!(found.message.contains("fuse3"), "{found:?}");
        let mut facts = well();
        facts.helper.as_mut().unwrap().is_set_uid = false;
        finds(
            &facts,
            "fusermount3",
            State::Wrong,
            "chmod u+s /usr/bin/fusermount3",
        );
        let facts = MachineFacts {
            no_new_rights: true,
            ..well()
        };
        finds(&facts, "fusermount3", State::Wrong, "no-new-privileges=false");
        let facts = MachineFacts {
            is_root: true,
            ..well()
        };
        finds(&facts, "fusermount3", State::Wrong, "--cap-add SYS_ADMIN");
    }

    #[test]
    fn others_are_let_in_by_the_settings_of_the_helper() {
        let facts = MachineFacts {
            allow_other: true,
            ..well()
        };
        finds(
            &facts,
            "allow_other",
            State::Wrong,
            "user_allow_other >> /etc/fuse.conf",
        );
        let mut facts = facts;
        facts.helper.as_mut().unwrap().lets_others_in = true;
        assert_eq!(find(&facts, "allow_other").state, State::Ok);
        assert!(checks(&well()).iter().all(|check| check.name != "allow_other"));
    }

    #[test]
    fn refused_namespaces_concern_run_alone() {
        for trial in [
            Trial {
                namespace: Step::Refused(Errno::EPERM),
                ..Trial::default()
            },
            Trial {
                namespace: Step::Works,
                mount: Step::Refused(Errno::EPERM),
                ..Trial::default()
            },
        ] {
            let facts = MachineFacts { trial, ..well() };
            finds(&facts, "namespaces", State::Note, "sysctl -w x=0");
        }
        let facts = MachineFacts {
            trial: Trial::default(),
            ..well()
        };
        assert_eq!(find(&facts, "namespaces").state, State::Note);
    }

    #[test]
    fn a_limit_for_requests_ends_mounts() {
        let limit = Advice::new(
            "fs.fuse.max_request_timeout is 60",
            "sysctl -w fs.fuse.max_request_timeout=0",
        );
        let facts = MachineFacts {
            request_timeouts: vec![limit],
            ..well()
        };
        finds(&facts, "request timeout", State::Wrong, "max_request_timeout=0");
    }
}
