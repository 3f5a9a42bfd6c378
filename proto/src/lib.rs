//! The protocol of liandong: everything that both sides must agree on, and nothing that acts.
//!
//! Twenty-one city associations keep their own records, each at its own **node**; a provincial **hub** merges
//! what they send and sends decisions back. This crate is what they have in common: the messages, the rules,
//! and both halves of a sync session. It is pure. It has no clock, no randomness, no files, no sockets and no
//! runtime; time and random bytes come in as arguments. So a test can run a million histories in seconds, and
//! node and hub cannot disagree on a rule.
//!
//! # Four ideas
//!
//! 1. **The schema is the proto.** One message per kind of record. Its options say what the system must know
//!    of a field: labels, spreadsheet headers, owner, merge, how far it travels, how personal it is, how it
//!    is spelt; and of a status, which step may follow which and who makes it. The build turns them into the
//!    tables of [`schema`]. All else is generic code over these tables, so a new kind of record is a new
//!    message.
//! 2. **The log is the truth.** A change is an [`entry`] in a hash-chained log, on disk before anyone is told
//!    that it is saved. Whatever else a site stores follows from its log, proves itself by a digest, and can
//!    be made again.
//! 3. **Merge is a pure fold over the hub's order.** The [`state`] of a record and one change give the next
//!    state. What is not simply taken is kept beside it as a held value with a reason. Nothing is dropped,
//!    and one change that breaks a rule holds up no other. See [`merge`].
//! 4. **A dataset is a release.** Analysts are to read numbered releases that never change, not a moving
//!    table. Nothing of this is built yet.
//!
//! # Words
//!
//! One word, one meaning, here and in all other crates.
//!
//! | who and what | |
//! |---|---|
//! | node | the site of one city |
//! | hub | the site of the province; it also listens |
//! | site | a node or the hub, named by its [`SiteCode`](id::SiteCode) |
//! | kind | a type of record, such as a member; one message in the schema |
//! | record | one thing that is kept, named by its [`RecordId`](id::RecordId) |
//! | change | one immutable edit of one record: fields set, fields cleared, or a delete |
//! | entry | a change as it is stored: header, what travels in clear, what is sealed |
//! | origin | who wrote: a site in one epoch ([`Origin`](id::Origin)) |
//! | outcome | what the hub made of an entry: taken as it came, or which parts are held and why |
//! | held value | a value that is kept and not shown, with the [`Reason`](state::Reason) |
//! | finding | a record that tells people about a held value, or about something else that does not fit |
//! | refusal | a final no, with a code and a text |
//! | tombstone | what stands in the place of a deleted record |
//!
//! | places and times | |
//! |---|---|
//! | log | what a site has written and received, in order |
//! | seq | an entry's place in its origin's log: from 1, without holes |
//! | head | the newest entry of an origin: seq and hash ([`Head`](entry::Head)) |
//! | epoch | one life of a site's log |
//! | hub_seq | a place in the hub's order, which holds the entries of all origins |
//! | generation | one life of the hub's order; each start of the hub begins one |
//! | position | a generation and a hub_seq ([`Position`](position::Position)) |
//! | base | the delivered state of the record that a writer had before its eyes, as a position |
//! | cursor | how far a reader has come |
//! | watermark | a place below which something holds; the name says what |
//! | stamp | hybrid time ([`Stamp`](stamp::Stamp)); it chooses which of two concurrent values is shown and is never a place |
//! | lag | how far something is behind; the name says of what, in changes or in milliseconds |
//! | audit log | who did what at a site and what for: a log of its own, which knows no records |
//!
//! | between sites | |
//! |---|---|
//! | session | one conversation of a node with the hub |
//! | batch | entries or items that travel together |
//! | outbox | a node's own entries above the head that the hub holds: a view of the log, not a copy |
//! | feed | for one site, the records that have changed and where |
//! | receipt | the hub's word that entries are durable there; it says nothing of outcomes |
//! | payload hash | SHA-256 of what an entry carries, open or sealed |
//! | digest | proof that two sets are equal |
//! | token | a keyed hash in place of a number: equal numbers, equal tokens |
//! | linking key | the province's key for tokens; every node has it, the hub never |
//! | city key | the city's own key, under which it seals what must not be read elsewhere |
//! | release | a dataset with a number |
//!
//! A site *appends* to its log, *pushes*, *receives*, *merges* and *delivers*; a person *settles* a finding;
//! the province *publishes* a release and *retires* a node. *Sync* is all of it together.
//!
//! # How the modules fit
//!
//! A clerk's edit on its way:
//!
//! 1. [`format`](mod@format) brings what was typed into its stored spelling; [`validate`] holds it against
//!    the tables of [`schema`], with the raw values at hand.
//! 2. [`share`] splits the patch: what travels in clear, tokens in place of numbers, and the rest sealed
//!    under the city's key. [`entry`] chains it to the one before, with a [`stamp`] and a base from
//!    [`position`].
//! 3. [`session::node`] pushes it; [`session::hub`] checks hashes and chain and takes it in.
//! 4. The hub gives it a place. [`merge::judge`](merge::judge()) decides by the rules,
//!    [`merge::apply`](merge::apply()) does what was decided to the [`state`] of the record.
//! 5. The sessions carry receipts and changed states back. With [`digest`] both sides prove that they show
//!    the same.
//!
//! | module | holds |
//! |---|---|
//! | [`pb`] | the generated messages; with the feature `rpc` also the services |
//! | [`schema`] | kinds, fields and choices as static tables |
//! | [`id`], [`city`] | names of sites, records, epochs; the 21 cities |
//! | [`stamp`], [`position`] | hybrid time; places in the hub's order and what an old one means today |
//! | [`fields`] | a message split by tag without a schema, so that unknown fields survive byte for byte |
//! | [`entry`], [`state`] | a change as stored; a record as merged |
//! | [`merge`] | judging and applying |
//! | [`share`] | projection, tokens, sealing |
//! | [`format`](mod@format), [`validate`] | spelling of values; rules over fields, records and status steps |
//! | [`sign`], [`rotation`] | signatures over heads and receipts; how one signing key follows another |
//! | [`digest`] | digests of sets of records |
//! | [`session`] | the table of messages and both halves, sans-io |
//!
//! The bytes of an entry are never decoded and encoded again: protobuf has no canonical form, and a newer
//! writer may have sent what this version does not know.

pub mod city;
pub mod digest;
pub mod entry;
pub mod erasure;
pub mod fields;
pub mod format;
pub mod id;
pub mod merge;
pub mod pb;
pub mod position;
pub mod rotation;
pub mod schema;
pub mod session;
pub mod share;
pub mod sign;
pub mod stamp;
pub mod state;
pub mod validate;
