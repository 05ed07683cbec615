//! The operations that are timed: reading, listing, making files.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sha1::{Digest as _, Sha1};

use crate::data::hexadecimal;
use crate::{Fallible, program};

/// Seconds that `work` takes.
pub(crate) fn timed(work: impl FnOnce() -> Fallible<()>) -> Fallible<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Opens a file and reads it to its end, which must be at `size`.
pub(crate) fn read_whole(path: &Path, size: u64) -> Fallible<()> {
    read_with(path, size, &mut vec![0; 128 << 10])
}

fn read_with(path: &Path, size: u64, buffer: &mut [u8]) -> Fallible<()> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(named)?;
    let mut total = 0;
    loop {
        match file.read(buffer).map_err(named)? {
            0 if total == size => return Ok(()),
            0 => return Err(format!("{}: {total} bytes instead of {size}", path.display()).into()),
            count => total += count as u64,
        }
    }
}

/// Reads all files, so many at a time.
pub(crate) fn read_many(files: &[(PathBuf, u64)], at_once: usize) -> Fallible<()> {
    let next = AtomicUsize::new(0);
    let reader = || -> Fallible<()> {
        let mut buffer = vec![0; 128 << 10];
        while let Some((path, size)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            read_with(path, *size, &mut buffer)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..at_once).map(|_| scope.spawn(reader)).collect();
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().map_err(|_| "a reader panicked")?)
    })
}

/// The SHA-1 of a file's bytes, in hexadecimal digits.
pub(crate) fn digest(path: &Path) -> Fallible<String> {
    let (mut file, mut sha1, mut buffer) = (File::open(path)?, Sha1::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&sha1.finalize())),
            count => sha1.update(&buffer[..count]),
        }
    }
}

/// Maps a file and reads one byte of each page.
#[expect(unsafe_code, reason = "mapping a file is what is measured")]
pub(crate) fn touch_mapped(path: &Path) -> Fallible<()> {
    use std::os::fd::AsRawFd as _;
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len())?;
    // SAFETY: a new mapping at an address that the kernel chooses; it touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    let mut sum = 0u8;
    for offset in (0..length).step_by(4096) {
        // SAFETY: within the mapping, whose file nobody makes shorter.
        sum = sum.wrapping_add(unsafe { start.cast::<u8>().add(offset).read_volatile() });
    }
    std::hint::black_box(sum);
    // SAFETY: the mapping made above, which nobody uses any more.
    unsafe { libc::munmap(start, length) };
    Ok(())
}

/// `ls -ln` of a directory.
pub(crate) fn list_long(directory: &Path) -> Fallible<()> {
    let status = program::command("ls")
        .arg("-ln")
        .arg(directory)
        .stdout(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("ls of {}: {status}", directory.display()).into())
    }
}

/// Makes, looks at and removes empty files in a new directory, and gives the seconds of each.
pub(crate) fn own_files(directory: &Path, count: u32) -> Fallible<[f64; 3]> {
    fs::create_dir(directory)?;
    let files: Vec<PathBuf> = (0..count)
        .map(|number| directory.join(format!("mine_{number:04}.txt")))
        .collect();
    let each = |work: &dyn Fn(&Path) -> std::io::Result<()>| {
        timed(|| files.iter().try_for_each(|file| Ok(work(file)?)))
    };
    let create = each(&|file| File::create_new(file).map(drop))?;
    let stat = each(&|file| fs::metadata(file).map(drop))?;
    let unlink = each(&|file| fs::remove_file(file))?;
    fs::remove_dir(directory)?;
    Ok([create, stat, unlink])
}
