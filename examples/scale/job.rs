//! The files that each node of a job opens: real names and sizes, of which only the sizes are here.
//!
//! They are those of JWST's MIRI by the context `jwst_0541.pmap`: the rules of the context, and the references for images in nine
//! filters and medium-resolution spectra in all bands, in both read-out patterns.

/// Numbers and sizes in bytes of references of more than 1 MiB.
const LARGE: [(u16, u64); 17] = [
    (3, 3_394_373_760),
    (3, 773_585_280),
    (1, 76_088_889),
    (2, 76_088_888),
    (2, 76_088_887),
    (1, 76_088_886),
    (7, 46_526_400),
    (6, 16_934_400),
    (18, 16_931_520),
    (1, 12_712_320),
    (5, 12_709_440),
    (6, 12_703_680),
    (3, 9_532_800),
    (3, 4_242_240),
    (3, 4_239_360),
    (7, 4_236_480),
    (3, 1_071_360),
];
/// The number of small files, 124 rules and 27 references, and their bytes together.
const SMALL: (f64, f64) = (151.0, 1_848_164.0);

/// The files of a job, sizes in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) large: Vec<f64>,
    /// The number of small files, and their bytes together.
    pub(crate) small: (f64, f64),
}

impl Job {
    /// The job with files of `scale` times their size.
    pub(crate) fn real(scale: f64) -> Self {
        let large = LARGE.iter().flat_map(|&(number, size)| {
            #[expect(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
            let size = size as f64 * scale;
            std::iter::repeat_n(size, usize::from(number))
        });
        Self {
            large: large.collect(),
            small: (SMALL.0, SMALL.1 * scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_files_of_the_real_one() {
        let job = Job::real(1.0);
        assert_eq!(job.large.len(), 74);
        let bytes = job.large.iter().sum::<f64>() + job.small.1;
        assert!((bytes - 13_933_711_409.0).abs() < 0.5, "{bytes}");
    }
}
