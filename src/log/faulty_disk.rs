//! A file system in memory that fails as real ones do, for tests. Everything it does follows from
//! its seed.
//!
//! ```text
//!  write, cut ──▶ seen by all ──(sync of the file)──▶ durable ─┐
//!  create, rename, remove ──▶ seen ──(sync of the folder)──▶ durable ──▶ what a crash leaves,
//!                   and of what was not synced: any part, torn at any byte, in any order
//! ```
//! A failed sync is Linux's: what was written is still seen, but the next sync does not write it
//! again, and only a part of it has come to the disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile};

/// The file system.
#[derive(Debug)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    /// By inode.
    files: Vec<Content>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Changes of names that are not durable yet; each happens as a whole or not at all.
    unsynced: Vec<Vec<(String, Option<usize>)>>,
    /// Bytes that fit.
    capacity: u64,
    plan: Plan,
    is_off: bool,
}

/// What goes wrong, after so many operations of its kind that succeed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// A write fails, and a part of it has been written.
    pub write_fails: Option<u32>,
    /// A sync fails.
    pub sync_fails: Option<u32>,
    /// The power goes: this change and all after it fail, until `crash` or `restart`.
    pub power_off: Option<u32>,
}

#[derive(Debug, Default, Clone)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug)]
struct FaultyFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

impl FaultyDisk {
    /// An empty disk with much room.
    pub fn new(seed: u64) -> Arc<Self> {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            files: Vec::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            unsynced: Vec::new(),
            capacity: u64::MAX / 2,
            plan: Plan::default(),
            is_off: false,
        };
        Arc::new(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// A disk with these files, all of them durable.
    pub fn holding(contents: &BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let disk = Self::new(0);
        let state = &mut *lock(&disk.state);
        for (inode, (name, bytes)) in contents.iter().enumerate() {
            let (seen, durable) = (bytes.clone(), bytes.clone());
            state.files.push(Content { seen, durable, unsynced: Vec::new() });
            state.seen.insert(name.clone(), inode);
        }
        state.durable.clone_from(&state.seen);
        Arc::clone(&disk)
    }

    /// What is to go wrong from now on.
    pub fn plan(&self, plan: Plan) {
        lock(&self.state).plan = plan;
    }

    /// Whether something of the plan is still to come.
    pub fn is_planned(&self) -> bool {
        let plan = lock(&self.state).plan;
        plan.write_fails.is_some() || plan.sync_fails.is_some() || plan.power_off.is_some()
    }

    /// So many bytes are free from now on; `None`: many.
    pub fn set_room(&self, bytes: Option<u64>) {
        let mut state = lock(&self.state);
        state.capacity = bytes.map_or(u64::MAX / 2, |bytes| state.used() + bytes);
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        lock(&self.state).used()
    }

    /// The power goes and comes again: what was not synced is there in part, or not.
    pub fn crash(&self) {
        let state = &mut *lock(&self.state);
        let in_order = state.rng.random_bool(0.5);
        for change in std::mem::take(&mut state.unsynced) {
            if state.rng.random_bool(0.5) {
                apply(&mut state.durable, change);
            } else if in_order {
                break;
            }
        }
        state.seen.clone_from(&state.durable);
        for file in &mut state.files {
            file.keep_some(&mut state.rng);
            file.seen.clone_from(&file.durable);
        }
        state.plan = Plan::default();
        state.is_off = false;
    }

    /// Only the process ends: everything that was written is still seen.
    pub fn restart(&self) {
        let mut state = lock(&self.state);
        state.plan = Plan::default();
        state.is_off = false;
    }

    /// All files and what is in them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = lock(&self.state);
        let all = state.seen.iter();
        all.map(|(name, inode)| (name.clone(), state.files[*inode].seen.clone())).collect()
    }
}

impl State {
    fn used(&self) -> u64 {
        self.seen.values().map(|inode| self.files[*inode].seen.len() as u64).sum()
    }

    /// Counts a change. True: it is the one at which the power goes.
    fn change(&mut self) -> io::Result<bool> {
        self.look()?;
        self.is_off = counted(&mut self.plan.power_off);
        Ok(self.is_off)
    }

    fn look(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn rename(&mut self, change: Vec<(String, Option<usize>)>) -> io::Result<()> {
        self.change()?;
        apply(&mut self.seen, change.clone());
        self.unsynced.push(change);
        self.look()
    }
}

/// Whether a countdown ends now.
fn counted(left: &mut Option<u32>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
        None => false,
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: Vec<(String, Option<usize>)>) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name, inode),
            None => names.remove(&name),
        };
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.resize(bytes.len().max(at + new.len()), 0);
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl Content {
    /// Makes any part of what was not synced durable, and forgets the rest.
    fn keep_some(&mut self, rng: &mut StdRng) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::SetLen(len) if rng.random_bool(0.5) => self.durable.resize(len, 0),
                Change::SetLen(_) => {}
                Change::Write(at, bytes) => match rng.random_range(0..5) {
                    0 => {}
                    1 => put(&mut self.durable, at, &bytes),
                    2 | 3 => {
                        let cut = rng.random_range(0..=bytes.len());
                        put(&mut self.durable, at, &bytes[..cut]);
                    }
                    _ => {
                        let mut done = 0;
                        while done < bytes.len() {
                            let end = bytes.len().min(done + rng.random_range(1..=64));
                            if rng.random_bool(0.5) {
                                put(&mut self.durable, at + done, &bytes[done..end]);
                            }
                            done = end;
                        }
                    }
                },
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = lock(&self.state);
        state.look()?;
        Ok(state.seen.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = lock(&self.state);
        state.look()?;
        let inode = *state.seen.get(name).ok_or_else(not_found)?;
        Ok(Arc::new(FaultyFile { state: Arc::clone(&self.state), inode }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if let Ok(file) = self.open(name) {
            file.set_len(0)?;
            return Ok(file);
        }
        let mut state = lock(&self.state);
        let inode = state.files.len();
        state.files.push(Content::default());
        state.rename(vec![(name.to_owned(), Some(inode))])?;
        Ok(Arc::new(FaultyFile { state: Arc::clone(&self.state), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        let inode = *state.seen.get(from).ok_or_else(not_found)?;
        state.rename(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))])
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.seen.get(name).ok_or_else(not_found)?;
        state.rename(vec![(name.to_owned(), None)])
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.change()?;
        state.look()?;
        if counted(&mut state.plan.sync_fails) {
            return Err(io::Error::other("the folder cannot be synced"));
        }
        for change in std::mem::take(&mut state.unsynced) {
            apply(&mut state.durable, change);
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = lock(&self.state);
        state.look()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        let state = lock(&self.state);
        state.look()?;
        Ok(state.files[self.inode].seen.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let state = lock(&self.state);
        state.look()?;
        let bytes = &state.files[self.inode].seen;
        let at = usize::try_from(at).expect("small").min(bytes.len());
        let len = buf.len().min(bytes.len() - at);
        buf[..len].copy_from_slice(&bytes[at..at + len]);
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.change()?;
        let at = usize::try_from(at).expect("small");
        let grows = (at + buf.len()).saturating_sub(state.files[self.inode].seen.len());
        let free = state.capacity.saturating_sub(state.used());
        let free = usize::try_from(free).unwrap_or(usize::MAX);
        let mut fits = buf.len() - grows.saturating_sub(free).min(buf.len());
        let mut outcome = Ok(());
        if fits < buf.len() {
            outcome = Err(io::ErrorKind::StorageFull.into());
        } else if counted(&mut state.plan.write_fails) {
            fits = state.rng.random_range(0..=buf.len());
            outcome = Err(io::Error::other("the disk does not take it"));
        }
        let file = &mut state.files[self.inode];
        put(&mut file.seen, at, &buf[..fits]);
        file.unsynced.push(Change::Write(at, buf[..fits].to_vec()));
        state.look().and(outcome)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.change()?;
        let len = usize::try_from(len).expect("small");
        let file = &mut state.files[self.inode];
        file.seen.resize(len, 0);
        file.unsynced.push(Change::SetLen(len));
        state.look()
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.change()?;
        state.look()?;
        let file = &mut state.files[self.inode];
        if counted(&mut state.plan.sync_fails) {
            file.keep_some(&mut state.rng);
            return Err(io::Error::other("the file cannot be synced"));
        }
        for change in std::mem::take(&mut file.unsynced) {
            match change {
                Change::Write(at, bytes) => put(&mut file.durable, at, &bytes),
                Change::SetLen(len) => file.durable.resize(len, 0),
            }
        }
        Ok(())
    }
}
