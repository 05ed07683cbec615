//! What happens to a file on its way into a directory.

use super::super::conformance::upload;
use super::*;

fn work(root: &Path, path: &Path, content: &[u8]) -> Work {
    let destination = DirectoryDestination::new(root.to_owned());
    Work {
        shared: destination.shared,
        url: Url::new(url::Url::from_file_path(path).unwrap().as_str()),
        upload: upload(content),
        halt: CancellationToken::new(),
    }
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn what_took_the_name_meanwhile_stays_and_is_compared() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.asdf");
    let work = work(root.path(), &path, b"good");
    for (there, is_same) in [(b"good", true), (b"evil", false)] {
        fs::write(&path, there).unwrap();
        let temporary = Temporary::new(root.path()).unwrap();
        work.copy(&temporary).unwrap();
        match work.give_name(&temporary, &path) {
            Ok(Put::Exists) => assert!(is_same),
            Err(PutError::Other(_)) => assert!(!is_same),
            other => panic!("{other:?}"),
        }
        drop(temporary);
        assert_eq!(fs::read(&path).unwrap(), there);
        assert_eq!(names(root.path()), ["a.asdf"]);
    }
}

#[test]
fn what_nobody_waits_for_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    let work = work(root.path(), &root.path().join("a.asdf"), b"good");
    work.halt.cancel();
    assert!(matches!(work.run(), Err(PutError::Failed(_))));
    assert!(names(root.path()).is_empty());
}

#[test]
fn nothing_is_written_beside_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let work = work(&root, &dir.path().join("a.asdf"), b"good");
    assert!(matches!(work.run(), Err(PutError::Failed(_))));
    assert_eq!(names(dir.path()), ["root"]);
}

#[test]
fn errors_that_tell_that_there_are_no_hard_links() {
    for errno in [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK] {
        assert!(!has_links(&errno.into()), "{errno}");
    }
    for errno in [Errno::EXIST, Errno::NOSPC, Errno::ACCESS, Errno::IO] {
        assert!(has_links(&errno.into()), "{errno}");
    }
}
