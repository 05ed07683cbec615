//! Rates of transfers over shared links: max-min fair, as long-lived TCP connections share them about equally. Pure.

/// The use that one transfer makes of a link: so many of the link's units for each byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// The index of the link.
    pub(crate) link: usize,
    /// Units of the link's capacity for each byte: 1 where that is bytes, the reciprocal of a length where it is files.
    pub(crate) units: f64,
}

/// Some transfers that are alike.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    /// The links on the way of each transfer, with their use.
    pub(crate) uses: Vec<Use>,
    /// The number of transfers.
    pub(crate) count: f64,
    /// The bytes a second that each could have if all links were empty.
    pub(crate) most: f64,
}

/// A flow, and the most that it may have now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limited<'a> {
    pub(crate) flow: &'a Flow,
    pub(crate) most: f64,
}

/// The rates in bytes a second of one transfer of each flow over links of these capacities, in units a second.
///
/// All rates grow together; those of whoever meets its own limit or a full link stay where they are (progressive filling).
pub(crate) fn share(capacities: &[f64], flows: &[Limited]) -> Vec<f64> {
    let mut rates = vec![0.0; flows.len()];
    let mut growing: Vec<usize> = (0..flows.len()).collect();
    // The capacity of each link beside the rates that are final, and the use that the growing ones make of it for each byte.
    let (mut free, mut wanted) = (capacities.to_vec(), vec![0.0; capacities.len()]);
    for Limited { flow, .. } in flows {
        for each in &flow.uses {
            wanted[each.link] += flow.count * each.units;
        }
    }
    while !growing.is_empty() {
        let mut levels = vec![f64::INFINITY; capacities.len()];
        for (level, (free, wanted)) in levels.iter_mut().zip(free.iter().zip(&wanted)) {
            if *wanted > 0.0 {
                *level = free.max(0.0) / wanted;
            }
        }
        // Links that nobody uses any more count as used by what rounding leaves of them: they limit nobody.
        let of_flow = |index: usize| {
            let Limited { flow, most } = flows[index];
            flow.uses
                .iter()
                .map(|each| levels[each.link])
                .fold(most, f64::min)
        };
        let level = growing
            .iter()
            .map(|&index| of_flow(index))
            .fold(f64::INFINITY, f64::min);
        let (stay, grow): (Vec<usize>, Vec<usize>) = growing
            .iter()
            .partition(|&&index| of_flow(index) <= level * (1.0 + 1e-12));
        for index in stay {
            rates[index] = level;
            let flow = flows[index].flow;
            for each in &flow.uses {
                free[each.link] -= flow.count * each.units * level;
                wanted[each.link] -= flow.count * each.units;
            }
        }
        growing = grow;
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(links: &[usize], count: f64, most: f64) -> Flow {
        let uses = links.iter().map(|&link| Use { link, units: 1.0 }).collect();
        Flow { uses, count, most }
    }

    fn share(capacities: &[f64], flows: &[Flow]) -> Vec<f64> {
        let limited = flows.iter().map(|flow| Limited {
            flow,
            most: flow.most,
        });
        super::share(capacities, &limited.collect::<Vec<_>>())
    }

    fn close(found: &[f64], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(
                (found - wanted).abs() < 1e-9 * wanted.abs().max(1.0),
                "{found} is not {wanted}"
            );
        }
    }

    #[test]
    fn one_link_is_shared_equally() {
        close(
            &share(
                &[100.0],
                &[flow(&[0], 4.0, f64::INFINITY), flow(&[0], 1.0, f64::INFINITY)],
            ),
            &[20.0, 20.0],
        );
        // The capacity that limited flows cannot use goes to the unlimited one.
        close(
            &share(&[100.0], &[flow(&[0], 4.0, 5.0), flow(&[0], 1.0, f64::INFINITY)]),
            &[5.0, 80.0],
        );
        close(&share(&[100.0], &[flow(&[0], 2.0, 10.0)]), &[10.0]);
    }

    #[test]
    fn the_textbook_case() {
        // Links of 10 and 20; one flow over both, one over each.
        let flows = [
            flow(&[0, 1], 1.0, f64::INFINITY),
            flow(&[0], 1.0, f64::INFINITY),
            flow(&[1], 1.0, f64::INFINITY),
        ];
        close(&share(&[10.0, 20.0], &flows), &[5.0, 5.0, 15.0]);
    }

    #[test]
    fn files_a_second_limit_small_files() {
        // 100 files a second, of 10 bytes and of 1,000 bytes, one of each at a time.
        let files = |length: f64| Flow {
            uses: vec![Use {
                link: 0,
                units: 1.0 / length,
            }],
            count: 1.0,
            most: f64::INFINITY,
        };
        let rates = share(&[100.0], &[files(10.0), files(1000.0)]);
        close(&[rates[0] / 10.0 + rates[1] / 1000.0], &[100.0]);
        close(&[rates[0]], &[rates[1]]);
    }
}
