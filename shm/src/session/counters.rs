//! What a session has done, in numbers.

/// Counts of one session, or of all sessions of a driver together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Records written into our rings.
    pub records_sent: u64,
    /// Records read from the peers' rings.
    pub records_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Doorbells rung.
    pub doorbells_sent: u64,
    /// Batches that were published without a doorbell: the peer was awake, or had been told already.
    pub doorbells_suppressed: u64,
    /// Doorbells of the peers that were heard.
    pub doorbells_heard: u64,
    /// How often a ring had no room for what was to be sent.
    pub full_waits: u64,
    /// Bytes that were lent where they were: sent without a copy on this side.
    pub bytes_lent: u64,
    /// Bytes that were copied into an arena, and lent.
    pub bytes_copied_to_lend: u64,
    /// Loans that were given.
    pub loans_given: u64,
    /// Those of them that have come back.
    pub loans_returned: u64,
    /// Loans of the peers that were received.
    pub loans_received: u64,
    /// Chunks of memory that the peers have mapped, to be lent from. Each has 1 MiB, and lasts as long as its session.
    pub arenas: u64,
}

impl Counters {
    /// Each count with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 14] {
        let Self {
            records_sent,
            records_received,
            bytes_sent,
            bytes_received,
            doorbells_sent,
            doorbells_suppressed,
            doorbells_heard,
            full_waits,
            bytes_lent,
            bytes_copied_to_lend,
            loans_given,
            loans_returned,
            loans_received,
            arenas,
        } = *self;
        [
            ("records_sent", records_sent),
            ("records_received", records_received),
            ("bytes_sent", bytes_sent),
            ("bytes_received", bytes_received),
            ("doorbells_sent", doorbells_sent),
            ("doorbells_suppressed", doorbells_suppressed),
            ("doorbells_heard", doorbells_heard),
            ("full_waits", full_waits),
            ("bytes_lent", bytes_lent),
            ("bytes_copied_to_lend", bytes_copied_to_lend),
            ("loans_given", loans_given),
            ("loans_returned", loans_returned),
            ("loans_received", loans_received),
            ("arenas", arenas),
        ]
    }

    /// What was done since these were `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            records_sent: self.records_sent - earlier.records_sent,
            records_received: self.records_received - earlier.records_received,
            bytes_sent: self.bytes_sent - earlier.bytes_sent,
            bytes_received: self.bytes_received - earlier.bytes_received,
            doorbells_sent: self.doorbells_sent - earlier.doorbells_sent,
            doorbells_suppressed: self.doorbells_suppressed - earlier.doorbells_suppressed,
            doorbells_heard: self.doorbells_heard - earlier.doorbells_heard,
            full_waits: self.full_waits - earlier.full_waits,
            bytes_lent: self.bytes_lent - earlier.bytes_lent,
            bytes_copied_to_lend: self.bytes_copied_to_lend - earlier.bytes_copied_to_lend,
            loans_given: self.loans_given - earlier.loans_given,
            loans_returned: self.loans_returned - earlier.loans_returned,
            loans_received: self.loans_received - earlier.loans_received,
            arenas: self.arenas - earlier.arenas,
        }
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.records_sent += other.records_sent;
        self.records_received += other.records_received;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.doorbells_sent += other.doorbells_sent;
        self.doorbells_suppressed += other.doorbells_suppressed;
        self.doorbells_heard += other.doorbells_heard;
        self.full_waits += other.full_waits;
        self.bytes_lent += other.bytes_lent;
        self.bytes_copied_to_lend += other.bytes_copied_to_lend;
        self.loans_given += other.loans_given;
        self.loans_returned += other.loans_returned;
        self.loans_received += other.loans_received;
        self.arenas += other.arenas;
    }
}
