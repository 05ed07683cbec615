//! The shared directory, seen without any view.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::Fallible;
use crate::library::{self, OBSERVATORY};

/// Files that are removed at a time, in a thousand.
const REMOVED: u32 = 2;

pub(crate) struct Shared {
    path: PathBuf,
    instrument: bool,
    /// How often each file was removed.
    removed: Vec<u32>,
}

impl Shared {
    /// An empty directory; with references below their instrument if wanted.
    pub(crate) fn new(scratch: &Path, instrument: bool, files: u32) -> Fallible<Self> {
        let path = scratch.join("shared");
        fs::create_dir(&path)?;
        if instrument {
            let config = path.join("config").join(OBSERVATORY);
            fs::create_dir_all(&config)?;
            fs::write(config.join("ref_cache_subdir_mode"), "instrument")?;
        }
        Ok(Self {
            path,
            instrument,
            removed: vec![0; files as usize],
        })
    }

    /// How often each file was removed, by number.
    pub(crate) fn removed(&self) -> &[u32] {
        &self.removed
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn references(&self) -> PathBuf {
        self.path.join(library::directory(self.instrument))
    }

    /// Removes a few files, as somebody does who makes room by hand.
    pub(crate) fn remove_some(&mut self, random: &mut fastrand::Rng, files: u32) -> Fallible<()> {
        for _ in 0..(files * REMOVED).div_ceil(1000) {
            self.remove(random.u32(..files))?;
        }
        Ok(())
    }

    pub(crate) fn remove_all(&mut self, files: u32) -> Fallible<()> {
        (0..files).try_for_each(|number| self.remove(number))
    }

    fn remove(&mut self, number: u32) -> Fallible<()> {
        match fs::remove_file(self.references().join(library::name(number))) {
            Ok(()) => {
                if let Some(times) = self.removed.get_mut(number as usize) {
                    *times += 1;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// That every file is there under its name and right, and that nothing else looks like a file of CRDS.
    pub(crate) fn check(&self, files: u32) -> Fallible<()> {
        let mut wrong = Vec::new();
        let mut known = BTreeSet::new();
        for number in 0..files {
            let name = library::name(number);
            match fs::read(self.references().join(&name)) {
                Ok(bytes) if bytes[..] == library::reference(number)[..] => {}
                Ok(bytes) => wrong.push(format!("{name} is wrong ({} bytes)", bytes.len())),
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
            known.insert(name);
        }
        let mut others = Vec::new();
        for entry in fs::read_dir(self.references())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !known.contains(&name) {
                if !name.starts_with('.') {
                    wrong.push(format!("{name} is no file of the catalog"));
                }
                others.push(name);
            }
        }
        println!(
            "   {files} files looked through; other names beside them: {}",
            others.len()
        );
        for name in others.iter().take(5) {
            println!("     {name}");
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        Err(format!("{} files are wrong: {shown}", wrong.len()).into())
    }
}
