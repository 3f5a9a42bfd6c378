//! Reading a range: the staged rows laid over the stored ones.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;

use super::IndexError;
use super::end::End;
use super::layer::Layer;
use super::overlay::View;
use super::row::{ROOT, split, unseal};
use crate::store::{Put, Rows};

/// Rows of an index in ascending key order, as they were when the scan began. No lock is held between rows.
pub struct Scan<'a> {
    active: Peekable<vec::IntoIter<Put>>,
    closed: Option<Closed>,
    stored: Peekable<Rows>,
    end: &'a End,
    /// After an error there is nothing more to say.
    failed: Option<IndexError>,
    ended: bool,
}

/// A place in the layer that is being written.
struct Closed {
    layer: Arc<Layer>,
    from: Bytes,
    to: Option<Bytes>,
    next: Option<Put>,
}

impl Closed {
    fn new(layer: Arc<Layer>, from: &[u8], to: Option<&[u8]>) -> Closed {
        let (from, to) = (Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice));
        let mut closed = Closed { layer, from, to, next: None };
        closed.advance(None);
        closed
    }

    fn advance(&mut self, after: Option<&Bytes>) {
        self.next = self.layer.next(after, &self.from, self.to.as_deref()).cloned();
    }

    fn take(&mut self, key: &Bytes) -> Option<Option<Bytes>> {
        if self.next.as_ref().is_none_or(|(next, _)| next != key) {
            return None;
        }
        let (key, sealed) = self.next.take()?;
        self.advance(Some(&key));
        Some(sealed)
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        view: Result<View<Rows>, IndexError>,
        from: &[u8],
        to: Option<&[u8]>,
        end: &'a End,
    ) -> Scan<'a> {
        let nothing = || -> Rows { Box::new(std::iter::empty()) };
        let (view, failed) = match view {
            Ok(view) => (view, None),
            Err(error) => {
                let view =
                    View { active: Vec::new(), closed: None, stored: nothing(), digest: Default::default() };
                (view, Some(error))
            }
        };
        Scan {
            active: view.active.into_iter().peekable(),
            closed: view.closed.map(|layer| Closed::new(layer, from, to)),
            stored: view.stored.peekable(),
            end,
            failed,
            ended: false,
        }
    }

    /// The next key of all three, with what is staged or stored for it.
    fn step(&mut self) -> Option<Result<(Bytes, Option<Bytes>), IndexError>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let stored = match self.stored.peek() {
            Some(Err(error)) => return Some(Err(error.clone().into())),
            Some(Ok((key, _))) => Some(key),
            None => None,
        };
        let closed = self.closed.as_ref().and_then(|closed| closed.next.as_ref()).map(|(key, _)| key);
        let active = self.active.peek().map(|(key, _)| key);
        let key = [active, closed, stored].into_iter().flatten().min()?.clone();
        let active = self.active.next_if(|(next, _)| *next == key).map(|(_, sealed)| sealed);
        let closed = self.closed.as_mut().and_then(|closed| closed.take(&key));
        let stored = self.stored.next_if(|row| row.as_ref().is_ok_and(|(next, _)| *next == key));
        if let Some(staged) = active.or(closed) {
            return Some(Ok((key, staged.map(|sealed| split(&sealed).value))));
        }
        let (key, sealed) = stored?.ok()?;
        if key == ROOT {
            return Some(Ok((key, None)));
        }
        Some(unseal(&key, &sealed).map(|item| (key, Some(item.value))))
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.step() {
                Some(Ok((key, Some(value)))) => return Some(Ok((key, value))),
                Some(Ok((_, None))) => {}
                Some(Err(error)) => {
                    self.ended = true;
                    self.end.note(&error);
                    return Some(Err(error));
                }
                None => self.ended = true,
            }
        }
        None
    }
}
