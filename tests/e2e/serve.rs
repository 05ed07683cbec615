//! `crds-fs serve` as a process: its start, its address, what it cannot read.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::outputs::said;
use crate::rig::program;

/// A small cache with a directory for whoever serves it.
fn cache() -> TempDir {
    let root = TempDir::new().unwrap();
    for (path, text) in [
        ("cache/mappings/hst/hst_0001.pmap", "rules"),
        ("cache/mappings/hst/hst_acs_0001.imap", "more rules"),
        ("cache/references/hst/x_drk.fits", "data"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn serve(root: &Path, listen: &str) -> Command {
    let mut command = program();
    command
        .arg("serve")
        .arg(root.join("cache"))
        .args(["--listen", listen])
        .env("XDG_CACHE_HOME", root.join("own"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A server, ended when it is dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server and waits until it is ready; what it says on both streams until it is told to end.
fn start_and_end(root: &Path, listen: &str) -> (String, String) {
    let mut serving = Serving(serve(root, listen).spawn().unwrap());
    let mut out = String::new();
    let mut lines = BufReader::new(serving.0.stdout.take().unwrap());
    while !out.ends_with("ready\n") {
        assert_ne!(lines.read_line(&mut out).unwrap(), 0, "{}", rest(&mut serving.0));
    }
    let pid = rustix::process::Pid::from_child(&serving.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let said = rest(&mut serving.0);
    assert!(serving.0.wait().unwrap().success(), "{said}");
    (out, said)
}

fn rest(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_is_read() {
    let root = cache();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = serve(root.path(), &format!("127.0.0.1:{port}")).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("hashed"), "{said}");
    for words in [&format!("port {port} is taken"), "--listen 127.0.0.1:PORT"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!root.path().join("cache/.crds-fs").exists());
}

#[test]
fn a_host_is_named_as_people_name_it() {
    let root = cache();
    let (out, _) = start_and_end(root.path(), "localhost:0");
    assert!(out.contains("/hst  3 files"), "{out}");
    for wrong in ["localhost", "nonsense:", "127.0.0.1:99999"] {
        let output = serve(root.path(), wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let said = said(&output);
        assert!(
            said.contains("--listen") && said.contains("write HOST:PORT"),
            "{said}"
        );
    }
}

#[test]
fn digests_are_remembered_as_long_as_the_files_stay() {
    let root = cache();
    let (_, first) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(first.contains("hashed 3 files"), "{first}");
    let (out, second) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(
        second.contains("hashed 0 files") && second.contains("the digests of 3 were remembered"),
        "{second}"
    );
    assert!(out.contains("/hst  3 files"), "{out}");
    fs::write(root.path().join("cache/references/hst/x_drk.fits"), "other data").unwrap();
    let (_, third) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(
        third.contains("hashed 1 files, 10 B; the digests of 2 were remembered"),
        "{third}"
    );
    // A time that was put back hides nothing.
    let path = root.path().join("cache/references/hst/x_drk.fits");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "OTHER DATA").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let (_, fourth) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(fourth.contains("hashed 1 files, 10 B"), "{fourth}");
    assert!(!root.path().join("own").exists(), "the cache itself remembers");
}

#[test]
fn where_the_cache_cannot_be_written_the_users_own_directory_remembers() {
    let root = cache();
    let cache = root.path().join("cache");
    // A directory that nobody may write is left alone by root as well.
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o555)).unwrap();
    start_and_end(root.path(), "127.0.0.1:0");
    let (_, second) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(second.contains("the digests of 3 were remembered"), "{second}");
    assert!(!cache.join(".crds-fs").exists());
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    // No directory can be made here, by root neither.
    fs::write(cache.join(".crds-fs"), "a file").unwrap();
    let (_, again) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(again.contains("the digests of 3 were remembered"), "{again}");
    assert_eq!(fs::read(cache.join(".crds-fs")).unwrap(), b"a file");
    // It serves also when it can write nowhere.
    fs::remove_dir_all(root.path().join("own")).unwrap();
    fs::write(root.path().join("own"), "a file").unwrap();
    let (out, third) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(
        out.contains("/hst  3 files") && third.contains("hashed 3 files"),
        "{third}"
    );
}

#[test]
fn what_cannot_be_read_is_a_warning_each() {
    let root = cache();
    let references = root.path().join("cache/references/hst");
    // Its first byte is in no memory: reading is EIO, for root too.
    symlink("/proc/self/mem", references.join("bad_drk.fits")).unwrap();
    symlink("nowhere", references.join("gone_drk.fits")).unwrap();
    let pipe = references.join("pipe_drk.fits");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let (out, said) = start_and_end(root.path(), "127.0.0.1:0");
    assert!(out.contains("/hst  3 files"), "{out}");
    for name in ["bad_drk.fits", "gone_drk.fits", "pipe_drk.fits"] {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(
            matches!(&lines[..], [line] if line.contains("is not served")),
            "{name}: {said}"
        );
    }
    let nothing = program().args(["serve", "/nonexistent/cache"]).output().unwrap();
    let told = String::from_utf8(nothing.stderr).unwrap();
    assert_eq!(nothing.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot read the cache /nonexistent/cache"),
        "{told}"
    );
}
