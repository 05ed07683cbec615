//! Files written to a directory of this machine or of a network file system.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustix::fs::{Advice, CWD, RenameFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::{Destination, Put, PutError, Sum, Upload, other};
use crate::crds::Url;
use crate::remote::error::{RemoteError, RemoteErrorKind};

#[cfg(test)]
mod tests;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// The beginning and the end of the names of files that are being written.
const PREFIX: &str = ".crds-fs-";
const SUFFIX: &str = ".tmp";

/// The age from which a file with such a name is what a killed process has left.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// Files below a directory. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryDestination {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// The directories that were looked at for what killed processes have left.
    cleaned: Mutex<HashSet<PathBuf>>,
}

impl DirectoryDestination {
    /// The directory `root`, which is never made: where it is missing, a file system may not be mounted.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            shared: Arc::new(Shared {
                root,
                cleaned: Mutex::default(),
            }),
        }
    }
}

impl Destination for DirectoryDestination {
    fn put<'a>(&'a self, url: &'a Url, upload: &'a Upload) -> BoxFuture<'a, Result<Put, PutError>> {
        Box::pin(async move {
            let halt = CancellationToken::new();
            let _halted = halt.clone().drop_guard();
            let work = Work {
                shared: Arc::clone(&self.shared),
                url: url.clone(),
                upload: upload.clone(),
                halt,
            };
            let done = tokio::task::spawn_blocking(move || work.run()).await;
            done.unwrap_or_else(|error| {
                let message = format!("writing it ended without a result: {error}");
                Err(PutError::Failed(RemoteError::new(
                    RemoteErrorKind::Interrupted,
                    url,
                    message,
                )))
            })
        })
    }
}

/// One file on its way.
struct Work {
    shared: Arc<Shared>,
    url: Url,
    upload: Upload,
    halt: CancellationToken,
}

impl Work {
    fn run(&self) -> Result<Put, PutError> {
        let path = self.url.parsed().and_then(|url| url.to_file_path().ok());
        let path = path.filter(|path| path.starts_with(&self.shared.root));
        let Some((path, directory)) = path.as_deref().and_then(|path| Some((path, path.parent()?))) else {
            let message = "it is not below the directory";
            let error = RemoteError::new(RemoteErrorKind::Protocol, &self.url, message);
            return Err(PutError::Failed(error));
        };
        if path.symlink_metadata().is_ok() {
            return self.compare(path);
        }
        self.make(directory)?;
        self.clean(directory);
        let temporary = Temporary::new(directory).map_err(|error| self.failure("cannot be made", &error))?;
        self.copy(&temporary)?;
        let put = self.give_name(&temporary, path)?;
        drop(temporary);
        sync(directory).map_err(|error| self.failure("its directory cannot be made durable", &error))?;
        Ok(put)
    }

    /// Makes the directories between the root and the file.
    fn make(&self, directory: &Path) -> Result<(), PutError> {
        let root = &self.shared.root;
        let missing = |error: &io::Error| {
            self.failure(&format!("the directory '{}' is not there", root.display()), error)
        };
        let metadata = root.metadata().map_err(|error| missing(&error))?;
        if !metadata.is_dir() {
            return Err(missing(&io::ErrorKind::NotADirectory.into()));
        }
        let mut absent: Vec<&Path> = directory
            .ancestors()
            .take_while(|one| *one != root.as_path() && !one.is_dir())
            .collect();
        while let Some(one) = absent.pop() {
            match fs::create_dir(one) {
                Ok(()) => {
                    let parent = one.parent().unwrap_or(root);
                    sync(parent)
                        .map_err(|error| self.failure("a directory cannot be made durable", &error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failure("its directory cannot be made", &error)),
            }
        }
        Ok(())
    }

    /// Copies the file to one without a name of its own, durably, and reads it back.
    fn copy(&self, temporary: &Temporary) -> Result<(), PutError> {
        let wrong = |error: io::Error| self.failure("cannot be written", &error);
        let mut file = &temporary.file;
        let mut sum = Sum::default();
        while sum.bytes < self.upload.size {
            self.go_on()?;
            let bytes = self.upload.read_at(sum.bytes, CHUNK)?;
            sum.add(&bytes);
            file.write_all(&bytes).map_err(wrong)?;
        }
        let (found, size) = sum.finish();
        self.upload.check(found, size)?;
        file.sync_all().map_err(wrong)?;
        // From the disk, where the kernel lets go of what it keeps.
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
        if self.is_right(file)? {
            Ok(())
        } else {
            let error = io::Error::other("it reads back as something else");
            Err(wrong(error))
        }
    }

    /// Gives the file its name, if there is no other.
    fn give_name(&self, temporary: &Temporary, path: &Path) -> Result<Put, PutError> {
        let from = temporary.path.as_path();
        let named = match fs::hard_link(from, path) {
            Err(error) if !has_links(&error) => {
                let renamed = rustix::fs::renameat_with(CWD, from, CWD, path, RenameFlags::NOREPLACE);
                match renamed {
                    Err(Errno::INVAL | Errno::NOSYS) if path.symlink_metadata().is_err() => {
                        fs::rename(from, path)
                    }
                    Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
                    other => other.map_err(io::Error::from),
                }
            }
            other => other,
        };
        match named {
            Ok(()) => Ok(Put::Written),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.compare(path),
            Err(error) => Err(self.failure("cannot get its name", &error)),
        }
    }

    /// Compares what is there with what it should be.
    fn compare(&self, path: &Path) -> Result<Put, PutError> {
        let wrong = |error: io::Error| self.failure("what is there cannot be read", &error);
        // Asked before opening: opening a pipe would wait for its writer.
        let metadata = path.metadata().map_err(wrong)?;
        if !metadata.is_file() {
            return Err(other(&self.url, "it is not a regular file"));
        }
        if metadata.len() != self.upload.size {
            let what = format!(
                "it has {} bytes where the catalog says {}",
                metadata.len(),
                self.upload.size
            );
            return Err(other(&self.url, &what));
        }
        let file = File::open(path).map_err(wrong)?;
        if self.is_right(&file)? {
            Ok(Put::Exists)
        } else {
            Err(other(&self.url, "its SHA-1 is not the catalog's"))
        }
    }

    /// Whether a file has the right contents.
    fn is_right(&self, file: &File) -> Result<bool, PutError> {
        let mut sum = Sum::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            self.go_on()?;
            let count = file
                .read_at(&mut buffer, sum.bytes)
                .map_err(|error| self.failure("cannot be read back", &error))?;
            if count == 0 {
                return Ok(sum.finish() == (self.upload.sha1, self.upload.size));
            }
            sum.add(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Fails if nobody waits for the result any more.
    fn go_on(&self) -> Result<(), PutError> {
        if self.halt.is_cancelled() {
            return Err(self.failure("cannot be written", &io::ErrorKind::Interrupted.into()));
        }
        Ok(())
    }

    /// Removes what processes that were killed have left, once in each directory.
    fn clean(&self, directory: &Path) {
        if !self.shared.cleaned.lock().insert(directory.to_owned()) {
            return;
        }
        let is_old = |entry: &fs::DirEntry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.map(|changed| SystemTime::now().duration_since(changed).unwrap_or_default());
            age.is_ok_and(|age| age > LEFT)
        };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_temporary = name
                .to_str()
                .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
            if is_temporary && is_old(&entry) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn failure(&self, what: &str, error: &io::Error) -> PutError {
        let of = |kind| RemoteError::new(kind, &self.url, format!("{what}: {error}"));
        match Errno::from_io_error(error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => PutError::Refused(of(RemoteErrorKind::Denied)),
            Some(Errno::NOSPC | Errno::DQUOT) => PutError::Full(of(RemoteErrorKind::Server)),
            _ => PutError::Failed(of(RemoteErrorKind::Interrupted)),
        }
    }
}

/// Whether a file system has hard links, which a failure to make one may tell.
fn has_links(error: &io::Error) -> bool {
    let lacks = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK];
    Errno::from_io_error(error).is_none_or(|errno| !lacks.contains(&errno))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A file with a temporary name, which goes with this.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn new(directory: &Path) -> io::Result<Self> {
        let name = format!("{PREFIX}{:016x}{SUFFIX}", fastrand::u64(..));
        let path = directory.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been renamed.
        let _ = fs::remove_file(&self.path);
    }
}
