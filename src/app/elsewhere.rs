//! What is read from elsewhere: the catalogue, and the schemas that its streams name.
//!
//! ```text
//!  catalogue.uri ─▶ document ─▶ streams ─┐
//!  schemas.base_uris ─▶ schemas ─────────┴─▶ World ─▶ (app: is it another?) ─▶ in force ─▶ kept
//!       └── not to be had: the last good one, from memory or from the disk, and it is said
//! ```
//! All of it or nothing: a document that cannot be used changes nothing. What was in force last is
//! kept on the disk, so that a start while the other server is away is no outage of ours.

use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;

use self::kept::{Kept, Store};
use crate::catalog::stream_config::{self, Described, PassedOver};
use crate::config::Config;
use crate::document::{Fetcher, Place};
use crate::event::TimestampMs;
use crate::metrics::{ByOutcome, Metrics};
use crate::schemas::{Fetched, Missing, Remote, Schemas};
use crate::{limits, visit};

mod kept;

/// What goes by what is elsewhere.
#[derive(Debug)]
pub struct World {
    /// The configuration, with all streams.
    pub config: Config,
    /// What their events look like.
    pub schemas: Arc<Schemas>,
    /// What of the catalogue is no stream here; `None`: there is no catalogue.
    pub passed_over: Option<PassedOver>,
    /// Schemas that were not to be had.
    pub missing: Vec<Missing>,
    raw: Raw,
    /// The document is the one that is there now, not the last good one.
    is_fresh: bool,
}

/// What was read, as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
struct Raw {
    /// The catalogue's document, whole: another configuration may make something else of it.
    document: Value,
    schemas: Fetched,
}

/// What was read last.
pub(super) struct Elsewhere {
    last: Raw,
    /// Where its document was.
    place: Option<Place>,
    store: Option<Store>,
    /// Reads that have failed in a row.
    missed: u64,
    /// The one in force was read before this process began.
    is_from_disk: bool,
    /// Why, as it was last said.
    said: Option<String>,
    metrics: Arc<Metrics>,
}

/// Reads everything as it is there now.
///
/// # Errors
/// What cannot be had or used, with its place.
pub async fn read(own: &Config) -> anyhow::Result<World> {
    let read = async { world(own, document(own).await?, &Fetched::new()).await };
    read.await.map_err(anyhow::Error::msg)
}

async fn document(own: &Config) -> Result<Value, String> {
    let Some(place) = &own.catalogue.place else { return Ok(Value::Null) };
    let fetcher = fetcher(own, own.catalogue.headers.clone())?;
    let document = fetcher.fetch(place, limits::CATALOGUE_BYTES_MAX).await;
    document.map_err(|error| format!("the catalogue {error}"))
}

fn fetcher(
    own: &Config,
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
) -> Result<Fetcher, String> {
    let tls = visit::verified(own.catalogue.ca_file.as_deref());
    let tls = tls.map_err(|says| format!("catalogue.ca_file: {says}"))?;
    Ok(Fetcher::new(own.catalogue.timeout, headers, tls))
}

/// What a document makes of a configuration, with the schemas that are needed then.
async fn world(own: &Config, document: Value, before: &Fetched) -> Result<World, String> {
    let (config, passed_over) = with_streams(own, &document)?;
    let catalog = config.catalog();
    let fetcher = fetcher(own, Vec::new())?;
    let (fetched, missing) = Remote::new(&own.schemas, &fetcher).fetch(&catalog, before).await;
    let schemas = tokio::task::block_in_place(|| Schemas::load(&own.schemas, &catalog, &fetched));
    let schemas = schemas.map_err(|error| format!("read the schemas: {error}"))?;
    let raw = Raw { document, schemas: fetched };
    Ok(World { config, schemas, passed_over, missing, raw, is_fresh: true })
}

fn with_streams(own: &Config, document: &Value) -> Result<(Config, Option<PassedOver>), String> {
    let Some(place) = &own.catalogue.place else { return Ok((own.clone(), None)) };
    let says = |error: &dyn std::fmt::Display| format!("the catalogue {place}: {error}");
    let described = stream_config::described(document, &own.catalogue.terms);
    let Described { streams, passed_over } = described.map_err(|error| says(&error))?;
    let config = own.with_streams(&streams).map_err(|error| says(&error))?;
    Ok((config, Some(passed_over)))
}

impl Elsewhere {
    /// Whether a configuration has anything elsewhere.
    fn is_used(own: &Config) -> bool {
        own.catalogue.place.is_some() || !own.schemas.base_uris.is_empty()
    }

    /// The first read. Where it fails, what was in force last counts, if that was kept.
    ///
    /// # Errors
    /// When there is neither.
    pub(super) async fn start(
        own: &Config,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<(Self, World)> {
        let store = super::state_dir(own).map(Store::new);
        if store.is_none() && Self::is_used(own) {
            tracing::warn!("state_dir is not set: the last good catalogue is not kept on disk");
        }
        let mut this = Self {
            last: Raw::default(),
            place: own.catalogue.place.clone(),
            store,
            missed: 0,
            is_from_disk: false,
            said: None,
            metrics: Arc::clone(metrics),
        };
        let place = own.catalogue.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let used = this.store.as_ref().filter(|_| Self::is_used(own));
        let kept = used.map(|store| store.load(&place));
        let before = match &kept {
            Some(Ok(Some(kept))) => kept.raw.schemas.clone(),
            _ => Fetched::new(),
        };
        let read = async { world(own, document(own).await?, &before).await };
        let why = match read.await {
            Ok(world) => return Ok((this, world)),
            Err(why) => why,
        };
        let kept = match kept {
            None => Err("no folder to keep one in (state_dir)".to_owned()),
            Some(kept) => kept.and_then(|kept| kept.ok_or_else(|| "none was kept".to_owned())),
        };
        let Kept { raw, at } =
            kept.map_err(|says| anyhow::anyhow!("{why}; there is no last good one: {says}"))?;
        let world = world(own, raw.document, &raw.schemas).await;
        let mut world = world.map_err(anyhow::Error::msg).context("the last good catalogue")?;
        (world.is_fresh, this.is_from_disk) = (false, true);
        this.metrics.catalogue.seconds.set(at.0 / 1000);
        this.missed(own, &why);
        Ok((this, world))
    }

    /// Reads all of it again. `None`: it is as it was.
    ///
    /// # Errors
    /// Why it cannot be had or used; that is counted already.
    pub(super) async fn look(&mut self, own: &Config) -> Option<World> {
        if !Self::is_used(own) {
            return None;
        }
        let read = async { world(own, document(own).await?, &self.last.schemas).await };
        match read.await {
            Ok(world) if world.raw == self.last => {
                self.is_as_read(&world);
                None
            }
            Ok(world) => Some(world),
            Err(why) => {
                self.missed(own, &why);
                None
            }
        }
    }

    /// What another configuration makes of it: of what is there now, or else of what was read last
    /// at the same place.
    ///
    /// # Errors
    /// When neither can be used.
    pub(super) async fn for_config(&mut self, own: &Config) -> Result<World, String> {
        let read = async { world(own, document(own).await?, &self.last.schemas).await };
        let why = match read.await {
            Ok(world) => return Ok(world),
            Err(why) => why,
        };
        let Raw { document, schemas } = &self.last;
        if document.is_null() || self.place != own.catalogue.place {
            return Err(why);
        }
        let mut world = world(own, document.clone(), schemas).await?;
        world.is_fresh = false;
        self.missed(own, &why);
        Ok(world)
    }

    /// This one is in force.
    pub(super) fn took(&mut self, world: &World, own: &Config) {
        let others = world.config.streams.len() - own.streams.len();
        self.metrics.catalogue.streams.set(i64::try_from(others).unwrap_or(i64::MAX));
        let is_new = world.raw != self.last || self.place != own.catalogue.place;
        (self.last, self.place) = (world.raw.clone(), own.catalogue.place.clone());
        if !Self::is_used(own) {
            self.metrics.catalogue.stale.set(0);
            (self.missed, self.is_from_disk) = (0, false);
        } else if world.is_fresh {
            self.is_as_read(world);
        }
        self.keep(is_new && !self.is_from_disk);
    }

    fn keep(&self, is_new: bool) {
        let Some(store) = self.store.as_ref().filter(|_| is_new) else { return };
        let place = self.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let save = || store.save(&self.last, &place, TimestampMs::now());
        let kept = tokio::task::block_in_place(save);
        if let Err(error) = kept {
            tracing::error!(%error, "the catalogue cannot be kept on the disk");
        }
    }

    /// It was read, and is what is in force.
    fn is_as_read(&mut self, world: &World) {
        let metrics = &self.metrics.catalogue;
        metrics.reads.get_or_create(&ByOutcome { outcome: "read" }).inc();
        metrics.seconds.set(TimestampMs::now().0 / 1000);
        metrics.stale.set(0);
        if self.missed > 0 {
            tracing::info!(missed = self.missed, "the catalogue is read again");
        }
        (self.missed, self.is_from_disk) = (0, false);
        let missing = i64::try_from(world.missing.len()).unwrap_or(i64::MAX);
        metrics.schemas_missing.set(missing);
        let says: Vec<_> = world.missing.iter().map(|m| format!("{}: {}", m.uri, m.says)).collect();
        self.say(says.join("; "), "schemas cannot be fetched");
    }

    /// It was not to be had, or not to be used.
    pub(super) fn missed(&mut self, own: &Config, why: &str) {
        self.missed += 1;
        let is_stale = self.is_from_disk || self.missed >= own.catalogue.missed_max;
        let metrics = &self.metrics.catalogue;
        metrics.reads.get_or_create(&ByOutcome { outcome: "missed" }).inc();
        metrics.stale.set(i64::from(is_stale));
        self.say(why.to_owned(), "the last good catalogue stays in force");
    }

    /// Once for each reason.
    fn say(&mut self, why: String, what: &str) {
        if why.is_empty() {
            self.said = None;
        } else if self.said.as_ref() != Some(&why) {
            tracing::warn!(%why, "{what}");
            self.said = Some(why);
        }
    }
}
