//! The hub's side of a comparison: digests of what a city should show.

use liandong_node::site::{SiteError, view};
use liandong_proto::id::Origin;
use liandong_proto::session::hub::{Ask, Compared};
use liandong_proto::session::node::{Ask as Level, Digests, differing};

use crate::audience;
use crate::hub::Hub;

impl Hub {
    /// Digests for a site at the tags of `ask`; `None` when the hub stands elsewhere by now.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn digests(&self, origin: Origin, ask: &Ask) -> Result<Option<Compared>, SiteError> {
        let at_tags = || {
            let held = self.published().registry.head(origin) == ask.own_head;
            Ok::<bool, SiteError>(held && self.read_feed(origin, ask.feed_head, 1)?.items.is_empty())
        };
        if !at_tags()? {
            return Ok(None);
        }
        let mut out = Compared::default();
        if !ask.against.is_empty() {
            let kinds = ask.against.iter().map(|buckets| buckets.kind).collect();
            let Digests::Buckets(ours) = self.level(origin, &Level::Buckets(kinds))? else { return Ok(None) };
            let mut wanted = differing(&ours, &ask.against);
            wanted.extend(differing(&ask.against, &ours));
            if let Digests::Records(records) = self.level(origin, &Level::Records(wanted))? {
                out.records = records;
            }
        } else {
            if let Digests::Kinds(kinds) = self.level(origin, &Level::Kinds)? {
                out.kinds = kinds;
            }
            if !ask.buckets_of.is_empty()
                && let Digests::Buckets(buckets) =
                    self.level(origin, &Level::Buckets(ask.buckets_of.clone()))?
            {
                out.buckets = buckets;
            }
        }
        // The scan is not a snapshot of the tags: if they moved meanwhile, it proves nothing.
        Ok(at_tags()?.then_some(out))
    }

    fn level(&self, origin: Origin, level: &Level) -> Result<Digests, SiteError> {
        let site = origin.site;
        view::digests(self.index(), level, |kind, state| {
            audience::sees(site, kind, state).then(|| audience::project(site, kind, &state.fields))
        })
    }
}
