//! Whether a caller has a file open, by the descriptors that the kernel lists for its process.

use std::fs;
use std::io;

use super::ops::Ino;

/// Whether the process of a thread has a file with this inode number open. `None` where that cannot be read: the thread
/// is outside of what this process may see, or the kernel is older than Linux 5.14.
pub(super) fn has_open(tid: u32, ino: Ino) -> Option<bool> {
    if tid == 0 {
        return None;
    }
    let descriptors = fs::read_dir(format!("/proc/{tid}/fdinfo")).ok()?;
    for descriptor in descriptors {
        let told = match fs::read_to_string(descriptor.ok()?.path()) {
            Ok(told) => told,
            // Closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        // Linux before 5.14 does not list the inode number.
        let number = told.lines().find_map(|line| line.strip_prefix("ino:"))?;
        if number.trim().parse() == Ok(ino) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn told_by_the_descriptors_of_the_process() {
        let file = tempfile::tempfile().unwrap();
        let ino = file.metadata().unwrap().ino();
        let process = std::process::id();
        assert_eq!(has_open(process, ino), Some(true));
        drop(file);
        assert_eq!(has_open(process, u64::MAX), Some(false));
        assert_eq!(has_open(0, ino), None);
        assert_eq!(has_open(u32::MAX, ino), None);
    }
}
