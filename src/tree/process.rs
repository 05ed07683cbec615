//! Processes that use the mount, as far as /proc tells.

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// Its name, of at most 15 bytes.
    pub(super) command: String,
}

impl Process {
    /// The process that a thread belongs to; `None` if it has ended, or cannot be seen from here (thread 0).
    ///
    /// Not by `/proc/<pid>/cmdline`: a read of that waits for the memory map of the process, which may be locked while it waits for
    /// an answer of ours.
    pub(super) fn of_thread(tid: u32) -> Option<Self> {
        if tid == 0 {
            return None;
        }
        let (pid, command) = status_of(tid)?;
        if pid == tid {
            return Some(Self { pid, command });
        }
        // Threads have names of their own.
        let command = status_of(pid).map_or(command, |(_, command)| command);
        Some(Self { pid, command })
    }
}

/// The process and the name of a thread.
fn status_of(tid: u32) -> Option<(u32, String)> {
    let status = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    parse(&String::from_utf8_lossy(&status))
}

fn parse(status: &str) -> Option<(u32, String)> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    Some((field("Tgid")?.trim().parse().ok()?, field("Name")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_leads_to_its_process() {
        let own = std::process::id();
        let process = Process::of_thread(own).unwrap();
        assert_eq!(process.pid, own);
        let there = std::thread::Builder::new().name("a thread".into()).spawn(|| {
            let tid = nix::unistd::gettid().as_raw();
            Process::of_thread(u32::try_from(tid).unwrap())
        });
        assert_eq!(there.unwrap().join().unwrap(), Some(process));
        assert_eq!(Process::of_thread(0), None);
        assert_eq!(Process::of_thread(u32::MAX), None);
    }

    #[test]
    fn names_may_be_anything() {
        let status = "Name:\tTgid: a\\n:b\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t42\nNgid:\t0\n";
        assert_eq!(parse(status), Some((42, "Tgid: a\\n:b".to_owned())));
        assert_eq!(parse(""), None);
        assert_eq!(parse("Name:\tx\nTgid:\tmany\n"), None);
    }
}
