//! Plays one job on one site: an event is whatever changes rates, and between events all rates stay. Pure.

use crate::fluid::{Flow, Limited, share};
use crate::job::Job;
use crate::site::{File, Link, Place, Setup, Site, as_f64};

/// The cost of a job and the time that it takes.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Bytes that the institute sends.
    pub(crate) institute: f64,
    /// Seconds until the last node has its last file.
    pub(crate) time: f64,
    /// The links that were full for most of the time; empty if none was.
    pub(crate) narrowest: Vec<&'static str>,
}

/// A file on its way.
struct Transfer {
    file: usize,
    /// The group that receives it; `None` where it comes to what stands in the middle.
    group: Option<usize>,
    /// The transfer that it cannot overtake.
    behind: Option<usize>,
    flow: Flow,
    from: Place,
    size: f64,
    done: f64,
    begins: f64,
    rate: f64,
    is_over: bool,
}

/// A file, to what stands in the middle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    /// Wanted, but too many others come.
    Wanted,
    /// The number of its transfer.
    Coming(usize),
    There,
}

struct Group {
    starts: f64,
    /// The next file that it asks for.
    next: usize,
    /// Those that it has asked for and that have become available since.
    ready: Vec<usize>,
    /// Large files on their way to it.
    slots: usize,
    /// Files that it does not have yet.
    missing: usize,
}

struct Play<'a> {
    site: &'a Site,
    setup: Setup,
    files: Vec<File>,
    states: Vec<State>,
    /// The groups that wait for a file.
    waiting: Vec<Vec<usize>>,
    wanted: Vec<usize>,
    groups: Vec<Group>,
    transfers: Vec<Transfer>,
    /// Those that are not over.
    running: Vec<usize>,
    now: f64,
}

/// Plays a job.
pub(crate) fn play(site: &Site, setup: Setup, job: &Job) -> Outcome {
    // The small ones are asked for first, and have connections of their own.
    let small = File {
        size: job.small.1,
        files: job.small.0,
    };
    let large = job.large.iter().map(|&size| File { size, files: 1.0 });
    let files: Vec<File> = std::iter::once(small).chain(large).collect();
    let state = if setup == (Setup::Tier { filled: true }) {
        State::There
    } else {
        State::Absent
    };
    let groups = (0..site.groups).map(|group| Group {
        starts: site.start_of(group),
        next: 0,
        ready: Vec::new(),
        slots: 0,
        missing: files.len(),
    });
    let mut play = Play {
        site,
        setup,
        states: vec![state; files.len()],
        waiting: vec![Vec::new(); files.len()],
        wanted: Vec::new(),
        groups: groups.collect(),
        transfers: Vec::new(),
        running: Vec::new(),
        now: 0.0,
        files,
    };
    play.run()
}

impl Play<'_> {
    fn run(&mut self) -> Outcome {
        let capacities = self.site.capacities(self.setup);
        let mut full = vec![0.0; capacities.len()];
        let mut institute = self.site.description
            * if self.setup == Setup::SiteServer {
                1.0
            } else {
                self.site.nodes
            };
        while self.groups.iter().any(|group| group.missing > 0) {
            self.ask_all();
            let used = self.set_rates(&capacities);
            let step = self.until_next();
            assert!(step.is_finite(), "nothing happens any more");
            for (link, full) in full.iter_mut().enumerate() {
                if used[link] >= 0.999 * capacities[link] {
                    *full += step;
                }
            }
            institute += used[Link::Institute.index()] * step;
            self.advance(step);
        }
        // The nodes are one link to whoever looks.
        let shared = Link::Group(0).index();
        let nodes = full[shared..].iter().sum::<f64>() / as_f64(self.site.groups);
        full.truncate(shared);
        full.push(nodes);
        let most = full.iter().copied().fold(0.3 * self.now, f64::max);
        let narrowest = (0..full.len()).filter(|&link| full[link] >= 0.99 * most);
        Outcome {
            institute,
            time: self.now,
            narrowest: narrowest.map(|link| Link::name(link, self.setup)).collect(),
        }
    }

    fn ask_all(&mut self) {
        for group in 0..self.groups.len() {
            if self.groups[group].starts > self.now {
                continue;
            }
            while self.groups[group].slots < self.site.jobs {
                let ready = self.groups[group].ready.pop();
                let Some(file) = ready.or_else(|| self.next_of(group)) else {
                    break;
                };
                self.ask(group, file);
            }
        }
        let coming = |play: &Self| {
            play.running
                .iter()
                .filter(|&&at| play.transfers[at].group.is_none())
                .count()
        };
        // A site server fetches as many at a time as a mount; with a shared store each node does.
        let most = match self.setup {
            Setup::Shared => self.site.jobs.saturating_mul(self.site.groups.max(8)),
            Setup::SiteServer => self.site.jobs + 1,
            _ => usize::MAX,
        };
        while !self.wanted.is_empty() && coming(self) < most {
            let file = self.wanted.remove(0);
            let flow = self.site.fill(self.setup, self.files[file]);
            let number = self.begin(file, None, None, flow, Place::Institute);
            self.states[file] = State::Coming(number);
        }
    }

    fn next_of(&mut self, group: usize) -> Option<usize> {
        let next = self.groups[group].next;
        (next < self.files.len()).then(|| {
            self.groups[group].next += 1;
            next
        })
    }

    /// A group asks for a file.
    fn ask(&mut self, group: usize, file: usize) {
        let (site, what) = (self.site, self.files[file]);
        match (self.setup, self.states[file]) {
            (Setup::Tier { .. }, State::There) => {
                self.begin(file, Some(group), None, site.object(what, group), Place::Bucket);
            }
            (Setup::Crds | Setup::Tier { .. }, _) => {
                self.begin(
                    file,
                    Some(group),
                    None,
                    site.direct(what, group),
                    Place::Institute,
                );
            }
            (_, State::There) => {
                self.begin(file, Some(group), None, site.near(what, group), Place::Server);
            }
            (_, state) => {
                let passes_on = self.setup.passes_on_at_once() || file == 0;
                let number = match state {
                    State::Coming(number) => Some(number),
                    State::Absent if passes_on => {
                        let number =
                            self.begin(file, None, None, site.fill(self.setup, what), Place::Institute);
                        self.states[file] = State::Coming(number);
                        Some(number)
                    }
                    State::Absent => {
                        self.states[file] = State::Wanted;
                        self.wanted.push(file);
                        None
                    }
                    State::Wanted | State::There => None,
                };
                match number {
                    Some(number) if passes_on => {
                        self.begin(
                            file,
                            Some(group),
                            Some(number),
                            site.near(what, group),
                            Place::Server,
                        );
                    }
                    _ => self.waiting[file].push(group),
                }
            }
        }
    }

    fn begin(
        &mut self,
        file: usize,
        group: Option<usize>,
        behind: Option<usize>,
        flow: Flow,
        from: Place,
    ) -> usize {
        if let Some(group) = group
            && file > 0
        {
            self.groups[group].slots += 1;
        }
        self.transfers.push(Transfer {
            file,
            group,
            behind,
            flow,
            from,
            size: self.files[file].size,
            done: 0.0,
            begins: self.now + self.site.delay(from),
            rate: 0.0,
            is_over: false,
        });
        self.running.push(self.transfers.len() - 1);
        self.transfers.len() - 1
    }

    /// Sets the rates of all transfers that have begun; what is used of each link.
    fn set_rates(&mut self, capacities: &[f64]) -> Vec<f64> {
        let mut free = capacities.to_vec();
        let mut used = vec![0.0; capacities.len()];
        for follows in [false, true] {
            let chosen: Vec<usize> = self
                .running
                .iter()
                .copied()
                .filter(|&at| self.transfers[at].behind.is_some() == follows)
                .filter(|&at| self.transfers[at].begins <= self.now)
                .collect();
            let flows: Vec<Limited> = chosen.iter().map(|&at| self.limited(at)).collect();
            let rates = share(&free, &flows);
            for (Limited { flow, .. }, rate) in flows.iter().zip(&rates) {
                for each in &flow.uses {
                    let units = flow.count * each.units * rate;
                    used[each.link] += units;
                    free[each.link] = (free[each.link] - units).max(0.0);
                }
            }
            for (at, rate) in chosen.into_iter().zip(rates) {
                self.transfers[at].rate = rate;
            }
        }
        used
    }

    /// The flow of a transfer; one that has caught up with what it follows is no faster than that.
    fn limited(&self, at: usize) -> Limited<'_> {
        let transfer = &self.transfers[at];
        let ahead = transfer.behind.map(|ahead| &self.transfers[ahead]);
        let caught_up = ahead.filter(|ahead| !ahead.is_over && transfer.done >= ahead.done - CLOSE);
        let flow = &transfer.flow;
        Limited {
            flow,
            most: caught_up.map_or(flow.most, |ahead| flow.most.min(ahead.rate)),
        }
    }

    /// The time until rates change.
    fn until_next(&self) -> f64 {
        let starts = self
            .groups
            .iter()
            .map(|group| group.starts - self.now)
            .filter(|time| *time > 0.0);
        let changes = self.running.iter().flat_map(|&at| {
            let transfer = &self.transfers[at];
            if transfer.begins > self.now {
                return [transfer.begins - self.now, f64::INFINITY];
            }
            let ends = (transfer.size - transfer.done) / transfer.rate;
            let catches_up = transfer
                .behind
                .map(|ahead| &self.transfers[ahead])
                .filter(|ahead| !ahead.is_over);
            let catches_up = catches_up.map_or(f64::INFINITY, |ahead| {
                let (lead, gain) = (ahead.done - transfer.done, transfer.rate - ahead.rate);
                if lead > CLOSE && gain > 0.0 {
                    lead / gain
                } else {
                    f64::INFINITY
                }
            });
            [ends, catches_up]
        });
        starts.chain(changes).fold(f64::INFINITY, f64::min)
    }

    fn advance(&mut self, step: f64) {
        self.now += step;
        for at in std::mem::take(&mut self.running) {
            let transfer = &mut self.transfers[at];
            transfer.done += transfer.rate * step;
            if transfer.size - transfer.done > CLOSE {
                self.running.push(at);
                continue;
            }
            transfer.is_over = true;
            let (file, group, from) = (transfer.file, transfer.group, transfer.from);
            if let Some(group) = group {
                self.groups[group].missing -= 1;
                if file > 0 {
                    self.groups[group].slots -= 1;
                }
                // A tier is given what came from elsewhere, at once for all that matters here.
                if from == Place::Institute && matches!(self.setup, Setup::Tier { .. }) {
                    self.states[file] = State::There;
                }
            } else {
                self.states[file] = State::There;
                for group in std::mem::take(&mut self.waiting[file]) {
                    self.groups[group].ready.push(file);
                }
            }
        }
    }
}

/// Bytes within which two transfers are at the same place.
const CLOSE: f64 = 0.5;
