//! Follows the configuration in the store and hands it to the plane.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tidegate_api::{
    Error, KeyRange, Kv, Watch,
    pb::{WatchCreateRequest, WatchResponse, event::EventType},
};
use tidegate_base::{Budget, ByteSize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Handle, Plane, Store, VERSION_KEY, cache,
    store::{OBJECTS_PREFIX, Page, name_of, ops::number_of},
    tree::{Texts, Tree, TreeError},
};

#[derive(Debug, Clone)]
pub struct Config {
    /// Where the last good configuration is kept; `None` keeps none.
    pub directory: Option<PathBuf>,
    /// Most that all objects may hold, texts and what is built of them. Past it the node stays with what it runs.
    pub limit: ByteSize,
    /// How long a store that does not answer is waited for before the last good configuration is used.
    pub cache_after: Duration,
    /// A burst of changes has ended when nothing came for this long, or after ten times that.
    pub settle: Duration,
    /// Pause after the store failed, doubled up to the second.
    pub retry: (Duration, Duration),
    /// How often the plane is asked again while an object does not run, such as one whose port is taken.
    pub rebuild: Duration,
}

impl Config {
    pub const fn new(directory: Option<PathBuf>, limit: ByteSize) -> Self {
        Self {
            directory,
            limit,
            cache_after: Duration::from_secs(3),
            settle: Duration::from_millis(20),
            retry: (Duration::from_millis(100), Duration::from_secs(5)),
            rebuild: Duration::from_secs(10),
        }
    }
}

/// Why the loader lists again.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Store(#[from] Error),
    #[error("{0}")]
    Tree(#[from] TreeError),
    #[error("the watch ended: {0}")]
    Ended(String),
}

pub struct Loader {
    store: Store,
    watch: Arc<dyn Watch>,
    plane: Arc<dyn Plane>,
    budget: Budget,
    config: Config,
    handle: Handle,
    tree: Tree,
    /// Last revision that the tree has seen, and the version it read there.
    revision: i64,
    version: u64,
    /// Whether the plane was given something, be it from the file.
    started: bool,
    rebuild_at: Option<Instant>,
}

impl Loader {
    pub fn new(kv: Arc<dyn Kv>, watch: Arc<dyn Watch>, plane: Arc<dyn Plane>, budget: Budget, config: Config) -> Self {
        let tree = Tree::new(&budget, config.limit);
        let (store, handle) = (Store::new(kv), Handle::default());
        Self {
            store,
            watch,
            plane,
            budget,
            config,
            handle,
            tree,
            revision: 0,
            version: 0,
            started: false,
            rebuild_at: None,
        }
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs on a thread of its own, because building blocks, until `stop` holds `true` or its sender is gone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(self, stop: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("objects".to_owned()).spawn(move || runtime.block_on(self.run(stop)))
    }

    /// As [`Loader::spawn`], on the caller's runtime.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.follow_for_ever() => {}
        }
    }

    async fn follow_for_ever(&mut self) {
        let mut pause = self.config.retry.0;
        loop {
            let listed = if self.started { self.list().await } else { self.list_or_use_cache().await };
            let lost = match listed {
                Ok(()) => {
                    pause = self.config.retry.0;
                    self.handle.set_problem(None);
                    self.handle.set_full(false);
                    self.follow().await
                }
                Err(lost) => lost,
            };
            // A compacted or cancelled watch is part of a store's life, an endless row of them is not.
            tracing::warn!(error = %lost, "configuration is listed again");
            self.handle.set_problem(Some(lost.to_string()));
            self.handle.set_full(matches!(lost, Lost::Tree(TreeError::TooLarge(_))));
            self.rebuild_until(Instant::now() + pause).await;
            pause = (pause * 2).min(self.config.retry.1);
        }
    }

    /// The first listing: a store that fails or stays silent leaves the node with what it ran before.
    async fn list_or_use_cache(&mut self) -> Result<(), Lost> {
        let patience = self.config.cache_after;
        let answered = timeout(patience, self.list()).await;
        let lost = match answered {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(lost)) => lost,
            Err(_) => Lost::Ended("the store does not answer".to_owned()),
        };
        self.use_cache();
        // Not again: from here on the listing may take as long as it wants.
        self.started = true;
        Err(lost)
    }

    fn use_cache(&mut self) {
        let Some(directory) = &self.config.directory else { return };
        match cache::load(directory, &self.budget, self.config.limit) {
            Ok(None) => {}
            Ok(Some(texts)) => {
                let objects = texts.len();
                tracing::warn!(objects, "the store does not answer: running the last good configuration of this node");
                if let Err(error) = self.tree.reset(texts) {
                    tracing::error!(%error, "last good configuration does not fit");
                }
                self.apply();
            }
            Err(error) => tracing::error!(%error, "last good configuration cannot be read"),
        }
    }

    async fn list(&mut self) -> Result<(), Lost> {
        let mut texts = Texts::new();
        let (mut next, mut bytes, mut version, mut revision) = (Some(Page::default()), 0, 0, 0);
        while let Some(page) = next {
            let listed = self.store.list(page).await?;
            bytes += listed.objects.iter().map(|(name, text)| (name.len() + text.len()) as u64).sum::<u64>();
            if bytes > self.config.limit.0 {
                return Err(TreeError::TooLarge(self.config.limit).into());
            }
            texts.extend(listed.objects);
            version = listed.version.unwrap_or(version);
            revision = listed.revision;
            next = listed.next;
        }
        self.tree.reset(texts)?;
        (self.version, self.revision) = (version, revision);
        self.apply();
        Ok(())
    }

    /// Applies what the watch tells until it ends.
    async fn follow(&mut self) -> Lost {
        // From the objects to the version, without the versions before, which stand in front of both.
        let watched = KeyRange::Span(OBJECTS_PREFIX.into(), format!("{VERSION_KEY}\0").into());
        let (key, range_end) = watched.into_request();
        let start_revision = self.revision + 1;
        let request = WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        let mut stream = match self.watch.watch(request).await {
            Ok(stream) => stream,
            Err(error) => return error.into(),
        };
        // When the first and the last change of a burst came.
        let mut burst: Option<(Instant, Instant)> = None;
        loop {
            let settled = burst.map(|(first, last)| (last + self.config.settle).min(first + self.config.settle * 10));
            let wake = settled.or(self.rebuild_at);
            tokio::select! {
                biased;
                () = at(wake) => {
                    burst = None;
                    self.apply();
                }
                answer = stream.next() => match self.absorb(answer) {
                    Ok(false) => {}
                    Ok(true) => {
                        let now = Instant::now();
                        burst = Some((burst.map_or(now, |(first, _)| first), now));
                    }
                    Err(lost) => {
                        // What came before the end is whole revisions: use it, the next listing may be far.
                        if burst.is_some() {
                            self.apply();
                        }
                        return lost;
                    }
                }
            }
        }
    }

    /// Takes one answer into the tree; `true` when something changed.
    fn absorb(&mut self, answer: Option<Result<WatchResponse, Error>>) -> Result<bool, Lost> {
        let response = answer.ok_or_else(|| Lost::Ended("the store closed it".to_owned()))??;
        let mut changed = false;
        for event in &response.events {
            let Some(pair) = &event.kv else { continue };
            let deleted = event.r#type() == EventType::Delete;
            if let Some(name) = name_of(&pair.key) {
                // A slice of the answer would keep all of it in memory.
                let text = (!deleted).then(|| bytes::Bytes::copy_from_slice(&pair.value));
                changed |= self.tree.set(name, text)?;
            } else if *pair.key == *VERSION_KEY.as_bytes() {
                self.version = number_of(Some(pair).filter(|_| !deleted));
                changed = true;
            }
            self.revision = self.revision.max(pair.mod_revision);
        }
        if response.compact_revision > 0 {
            return Err(Lost::Ended(Error::Compacted.to_string()));
        }
        if response.canceled {
            return Err(Lost::Ended(response.cancel_reason));
        }
        Ok(changed)
    }

    /// Keeps trying what does not run while the store is away.
    async fn rebuild_until(&mut self, end: Instant) {
        while let Some(wake) = self.rebuild_at.filter(|wake| *wake < end) {
            sleep_until(wake).await;
            self.apply();
        }
        sleep_until(end).await;
    }

    /// Gives the whole tree to the plane and notes what became of it.
    fn apply(&mut self) {
        self.rebuild_at = Some(Instant::now() + self.config.rebuild);
        // Building runs code of every kind over what users wrote. A panic there is a bug, and no reason to stop following.
        let (plane, texts) = (&self.plane, self.tree.texts());
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| plane.apply(texts)));
        let Ok(statuses) = built else {
            tracing::error!("building the configuration panicked: what ran before is kept");
            return self.handle.set_problem(Some("building the configuration panicked".to_owned()));
        };
        if statuses.values().all(|status| status.error.is_none()) {
            self.rebuild_at = None;
        }
        let good_changed = self.tree.built(&statuses);
        if let Some(directory) = self.config.directory.as_deref().filter(|_| good_changed || !self.started)
            && let Err(error) = cache::save(directory, self.tree.good())
        {
            // The store has it all: what is lost is this node's start without the store.
            tracing::error!(%error, "last good configuration is not saved");
        }
        self.started = true;
        let objects = self.tree.texts().len();
        tracing::info!(version = self.version, objects, "configuration applied");
        self.handle.applied(self.version, self.tree.bytes(), self.tree.texts().clone(), statuses);
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
