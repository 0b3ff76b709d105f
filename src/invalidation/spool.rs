//! The bans that are not in the log yet, in a small file: a ban that a client
//! was answered for survives the end of this process.
//!
//! Promises: what was kept before [`Spool::synced`] answered `true` is found by
//! the next process that opens the same path, whatever ends this one. Nothing
//! that cannot be read or written is passed over: it becomes a ban on
//! everything, and is said in the log. Knows nothing of what a ban says.
//!
//! One process holds one file, locked while it runs. Where `path` is taken by
//! another instance of this machine, the next free one of `path.1`, `path.2`, …
//! is used. A file that nobody holds any more is taken over by whoever finds it.
//!
//! Form: a line that names the namespace, then one line for each batch of bans:
//! a checksum, a space, what goes into the log.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::telemetry::counters::RedisCounters;

/// A file holds no more than this; what would come after it becomes one ban on
/// everything.
const BYTES_MAX: u64 = 1 << 20;
/// Instances of one namespace on one machine that keep a file each; a further
/// one keeps none, and says so.
const SLOTS_MAX: usize = 64;
/// How long a write's answer waits for the disk. Past it the client is
/// answered, and the spool counts as failing until it has caught up.
const SYNC_TIMEOUT: Duration = Duration::from_secs(1);
/// A disk that failed is tried again so often.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// What is done before the disk is synced, at most.
const BATCH_MAX: usize = 1024;
/// What every file of this form begins with.
const FORM: &str = "pannier-bans 1 ";

/// The file of this process. Dropping it lets the file go.
#[derive(Debug)]
pub(super) struct Spool {
    commands: Sender<Command>,
    place: Place,
    own: usize,
}

/// What was found in a file that another process left.
#[derive(Debug)]
pub(super) struct Orphan {
    file: File,
    /// What it had kept, in order.
    pub(super) payloads: Vec<Bytes>,
}

/// What opening gives.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// `None` where no file can be had.
    pub(super) spool: Option<Spool>,
    /// What an earlier process had kept in the file that is ours now. It stays
    /// there until [`Spool::clear`].
    pub(super) payloads: Vec<Bytes>,
    /// Files of others who are gone.
    pub(super) orphans: Vec<Orphan>,
}

#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    header: Bytes,
    everything: Bytes,
}

#[derive(Debug)]
enum Command {
    Keep(Bytes),
    Clear,
    Release(File),
    Synced(oneshot::Sender<bool>),
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Of this namespace.
    Bans(Vec<Bytes>),
    /// Of another namespace: not our business.
    Others,
    /// Not of this form.
    Unreadable,
}

impl Spool {
    /// Takes a file at `path`, and what others left beside it. `everything` is
    /// what stands for a ban that cannot be read.
    pub(super) fn open(
        path: &Path,
        namespace: &str,
        everything: Bytes,
        counters: &Arc<RedisCounters>,
    ) -> Opened {
        let place = Place {
            path: path.to_owned(),
            header: Bytes::from(format!("{FORM}{namespace}\n")),
            everything,
        };
        let mut opened = Opened {
            spool: None,
            payloads: Vec::new(),
            orphans: Vec::new(),
        };
        match place.take_slot() {
            Ok((own, file, payloads)) => {
                opened.payloads = payloads;
                opened.spool = place.start(own, file, counters);
                opened.orphans = place.orphans(own);
            }
            Err(error) => {
                tracing::error!(
                    path = %path.display(),
                    %error,
                    "`coherence.spool` cannot be used: bans that wait for Redis are lost when this process ends"
                );
                // What is there and cannot be read may have been about anything.
                if !matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
                {
                    opened.payloads.push(place.everything.clone());
                }
            }
        }
        counters
            .log
            .spool_failing
            .set(u64::from(opened.spool.is_none()));
        opened
    }

    /// Keeps this until [`Self::clear`]. Never waits: see [`Self::synced`].
    pub(super) fn keep(&self, payload: Bytes) {
        self.tell(Command::Keep(payload));
    }

    /// Everything that was kept is in the log.
    pub(super) fn clear(&self) {
        self.tell(Command::Clear);
    }

    /// What `orphan` held has been kept here: it is not needed any more.
    pub(super) fn release(&self, orphan: Orphan) {
        self.tell(Command::Release(orphan.file));
    }

    /// Waits until everything told so far is on the disk; `false` where it is
    /// not, or not in time.
    pub(super) async fn synced(&self) -> bool {
        let (tell, synced) = oneshot::channel();
        self.tell(Command::Synced(tell));
        let synced = tokio::time::timeout(SYNC_TIMEOUT, synced).await;
        matches!(synced, Ok(Ok(true)))
    }

    /// Files that other processes left, with something in them. Reads the
    /// disk: not for a thread that others wait for.
    pub(super) fn orphans(&self) -> Vec<Orphan> {
        self.place.orphans(self.own)
    }

    fn tell(&self, command: Command) {
        // The thread ends with its senders: it is there.
        let _there = self.commands.send(command);
    }
}

impl Place {
    fn slot(&self, number: usize) -> PathBuf {
        match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                name.into()
            }
        }
    }

    /// The first file that nobody holds, and what is in it.
    fn take_slot(&self) -> io::Result<(usize, File, Vec<Bytes>)> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        for number in 0..SLOTS_MAX {
            let slot = self.slot(number);
            let Some(file) = lock(&slot, true)? else {
                continue;
            };
            match self.read(&file)? {
                Content::Bans(payloads) => return Ok((number, file, payloads)),
                Content::Others => {}
                Content::Unreadable => {
                    self.put_aside(&slot)?;
                    if let Some(fresh) = lock(&slot, true)? {
                        return Ok((number, fresh, vec![self.everything.clone()]));
                    }
                }
            }
        }
        Err(io::Error::other(format!(
            "{SLOTS_MAX} instances hold one already"
        )))
    }

    /// A file that is not of this form is not overwritten.
    fn put_aside(&self, slot: &Path) -> io::Result<()> {
        let mut aside = slot.to_owned().into_os_string();
        aside.push(".unreadable");
        tracing::error!(
            path = %slot.display(),
            moved_to = %Path::new(&aside).display(),
            "a spool of bans cannot be read: it counts as a ban on everything"
        );
        std::fs::rename(slot, &aside)
    }

    fn orphans(&self, own: usize) -> Vec<Orphan> {
        let others = (0..SLOTS_MAX).filter(|number| *number != own);
        let slots = others.map(|number| self.slot(number));
        let orphan = |slot: PathBuf| {
            let file = lock(&slot, false).ok().flatten()?;
            match self.read(&file).ok()? {
                Content::Bans(payloads) if !payloads.is_empty() => Some(Orphan { file, payloads }),
                Content::Unreadable => Some(Orphan {
                    file,
                    payloads: vec![self.everything.clone()],
                }),
                _ => None,
            }
        };
        slots.filter_map(orphan).collect()
    }

    fn read(&self, file: &File) -> io::Result<Content> {
        let mut text = Vec::new();
        // Twice the bound: what is longer was not written here.
        file.take(BYTES_MAX * 2 + 1).read_to_end(&mut text)?;
        if text.len() as u64 > BYTES_MAX * 2 {
            return Ok(Content::Unreadable);
        }
        Ok(self.parse(&text))
    }

    fn parse(&self, text: &[u8]) -> Content {
        if text.is_empty() {
            return Content::Bans(Vec::new());
        }
        let Some(lines) = text.strip_prefix(&self.header[..]) else {
            let is_of_this_form = text.starts_with(FORM.as_bytes()) && text.contains(&b'\n');
            return if is_of_this_form {
                Content::Others
            } else {
                Content::Unreadable
            };
        };
        let mut payloads = Vec::new();
        let mut is_whole = true;
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        for line in lines.filter(|line| *line != b"\n") {
            match payload_of(line) {
                Some(payload) => payloads.push(payload),
                None => is_whole = false,
            }
        }
        if !is_whole {
            tracing::error!(
                path = %self.path.display(),
                "a line of the spool of bans cannot be read: it counts as a ban on everything"
            );
            payloads.push(self.everything.clone());
        }
        Content::Bans(payloads)
    }

    fn start(&self, own: usize, file: File, counters: &Arc<RedisCounters>) -> Option<Spool> {
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let (commands, told) = channel();
        let writer = Writer {
            place: self.clone(),
            path: self.slot(own),
            file,
            bytes,
            // The last line of an earlier process may be torn.
            unwritten: if bytes > 0 { vec![b'\n'] } else { Vec::new() },
            is_folded: bytes > BYTES_MAX,
            is_behind: false,
            counters: Arc::clone(counters),
        };
        let started = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(&told));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for the spool of bans");
            return None;
        }
        Some(Spool {
            commands,
            place: self.clone(),
            own,
        })
    }
}

/// `None` where another process holds it, or where there is none and none is
/// to be made.
fn lock(path: &Path, is_to_be_made: bool) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(is_to_be_made)
        .mode(0o600)
        .open(path);
    let file = match opened {
        Err(error) if !is_to_be_made && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn line_of(payload: &[u8]) -> Vec<u8> {
    let checksum = blake3::hash(payload).to_hex();
    let mut line = Vec::with_capacity(payload.len() + 18);
    line.extend_from_slice(&checksum.as_bytes()[..16]);
    line.push(b' ');
    line.extend_from_slice(payload);
    line.push(b'\n');
    line
}

fn payload_of(line: &[u8]) -> Option<Bytes> {
    let payload = line.get(17..line.len().checked_sub(1)?)?;
    (line_of(payload) == line).then(|| Bytes::copy_from_slice(payload))
}

/// The thread that waits for the disk, so that no other does.
struct Writer {
    place: Place,
    path: PathBuf,
    file: File,
    /// In the file, and on the way into it.
    bytes: u64,
    unwritten: Vec<u8>,
    /// Its bound was reached: a ban on everything is in it.
    is_folded: bool,
    /// Something could not be written.
    is_behind: bool,
    counters: Arc<RedisCounters>,
}

impl Writer {
    fn run(mut self, told: &Receiver<Command>) {
        loop {
            let mut waiting = Vec::new();
            let mut released = Vec::new();
            match told.recv_timeout(RETRY_PAUSE) {
                Ok(first) => {
                    let more = told.try_iter().take(BATCH_MAX);
                    for command in std::iter::once(first).chain(more) {
                        match command {
                            Command::Keep(payload) => self.keep(&payload),
                            Command::Clear => self.clear(),
                            Command::Release(file) => released.push(file),
                            Command::Synced(waiter) => waiting.push(waiter),
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.is_behind => {}
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let is_synced = self.sync();
            for waiter in waiting {
                // One that gave up waiting does not want to know.
                let _given_up = waiter.send(is_synced);
            }
            // Otherwise they are found again.
            for file in released.into_iter().filter(|_| is_synced) {
                let emptied = file.set_len(0).and_then(|()| file.sync_data());
                if let Err(error) = emptied {
                    tracing::warn!(%error, "a spool that was taken over cannot be emptied");
                }
            }
        }
    }

    fn keep(&mut self, payload: &[u8]) {
        if self.is_folded {
            return;
        }
        let mut line = line_of(payload);
        if self.bytes + line.len() as u64 > BYTES_MAX {
            tracing::warn!("too many bans wait for Redis: the spool holds one on everything");
            line = line_of(&self.place.everything);
            self.is_folded = true;
        }
        self.bytes += line.len() as u64;
        self.unwritten.extend_from_slice(&line);
    }

    fn clear(&mut self) {
        self.unwritten.clear();
        let emptied = self.file.set_len(0);
        match emptied {
            Ok(()) => {
                (self.bytes, self.is_folded) = (0, false);
                self.caught_up();
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Whether everything is on the disk now.
    fn sync(&mut self) -> bool {
        if self.is_behind {
            // What is missing in the file is not known any more.
            self.unwritten = line_of(&self.place.everything);
            self.is_folded = true;
        }
        if self.unwritten.is_empty() {
            return true;
        }
        match self.write() {
            Ok(()) => {
                self.unwritten.clear();
                self.caught_up();
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() == 0 {
            self.file.write_all(&self.place.header)?;
            self.bytes += self.place.header.len() as u64;
        }
        self.file.write_all(&self.unwritten)?;
        self.file.sync_data()
    }

    fn caught_up(&mut self) {
        if std::mem::take(&mut self.is_behind) {
            tracing::info!(path = %self.path.display(), "the spool of bans is written again");
        }
        self.counters.log.spool_failing.set(0);
    }

    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_behind, true) {
            tracing::error!(
                path = %self.path.display(),
                %error,
                "the spool of bans cannot be written: bans that wait for Redis are lost when this process ends"
            );
        }
        self.counters.log.spool_failing.set(1);
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
