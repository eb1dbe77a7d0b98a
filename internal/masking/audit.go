package masking

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// OutcomeDone is the outcome of what was carried out. What a rule refused has the
// code of the refusal.
const OutcomeDone = "done"

// Operator is the actor of an entry for what was done with the admin token.
const Operator = "operator"

// An AuditEntry tells of one change or look: who did what to whom, and that it
// follows the entry before it. It holds no number in full, no PIN and no secret.
type AuditEntry struct {
	Sequence int64 // 1 for the first, without gaps
	At       time.Time
	Actor    string   // a token's id, or Operator
	Tenant   TenantID // whose things it was about; "" for nobody's
	Action   string   // the operation, as the OpenAPI document names it
	Object   string   // what it was done to, a number hidden
	Outcome  string   // OutcomeDone, or the code of a refusal
	Request  string   // X-Request-Id
	Previous [32]byte // Hash of the entry before; zeros for the first
	Hash     [32]byte
}

// AuditHead is the last entry of a log; zero for an empty one.
type AuditHead struct {
	Sequence int64
	Hash     [32]byte
}

// Head is the head of a log that ends with the entry.
func (e AuditEntry) Head() AuditHead { return AuditHead{e.Sequence, e.Hash} }

// Following makes e the entry after head. Its time is cut to seconds, so that
// what the API shows is all that was hashed.
func (e AuditEntry) Following(head AuditHead) AuditEntry {
	e.At = e.At.UTC().Truncate(time.Second)
	e.Sequence, e.Previous = head.Sequence+1, head.Hash
	e.Hash = e.Sum()
	return e
}

// auditFormat begins what is hashed; another encoding gets another name.
const auditFormat = "tandem audit 1\n"

// Sum is the SHA-256 over all fields but Hash: auditFormat, sequence and Unix
// seconds as 8 bytes each, the hash before, then the six texts in the order of
// the fields, each behind its length in 4 bytes. Integers are big-endian. No two
// entries have the same encoding.
func (e AuditEntry) Sum() [32]byte {
	b := make([]byte, 0, 320)
	b = append(b, auditFormat...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.Unix()))
	b = append(b, e.Previous[:]...)
	for _, text := range []string{e.Actor, string(e.Tenant), e.Action, e.Object, e.Outcome, e.Request} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return sha256.Sum256(b)
}

// AuditBreak is where a log is not what was written.
type AuditBreak struct {
	Sequence int64 // of the first entry that does not fit
	Why      string
}

// Error says the place and the reason.
func (b *AuditBreak) Error() string { return fmt.Sprintf("entry %d: %s", b.Sequence, b.Why) }

// An AuditCheck goes along a log from its first entry and finds the first that
// was changed, removed, inserted or swapped. The zero value is ready; it keeps
// one entry's hash, however long the log is.
//
// That a log was cut at its end, or written anew from some place on with hashes
// to match, is seen by a head alone that was kept elsewhere (see End and Met).
type AuditCheck struct {
	last AuditHead
	want AuditHead // a kept head: one of the entries must have its hash
	met  bool
}

// Expect makes the check look for an entry with the hash.
func (c *AuditCheck) Expect(hash [32]byte) { c.want.Hash = hash }

// Next takes the next entry. The error is an *AuditBreak.
func (c *AuditCheck) Next(e AuditEntry) error {
	next := c.last.Sequence + 1
	switch {
	case e.Sequence > next:
		return &AuditBreak{next, fmt.Sprintf("it is missing; the next one is %d", e.Sequence)}
	case e.Sequence < next:
		return &AuditBreak{next, fmt.Sprintf("entry %d stands in its place", e.Sequence)}
	case e.Previous != c.last.Hash:
		return &AuditBreak{next, "it does not follow the entry before it"}
	case e.Hash != e.Sum():
		return &AuditBreak{next, "it was changed"}
	}
	c.last = e.Head()
	c.met = c.met || e.Hash == c.want.Hash
	return nil
}

// Last is the last entry that was found right.
func (c *AuditCheck) Last() AuditHead { return c.last }

// End judges the log after its last entry: head is what the log says its last
// entry was when the check began; entries may have been added since. The error
// is an *AuditBreak.
func (c *AuditCheck) End(head AuditHead) error {
	if c.last.Sequence < head.Sequence {
		return &AuditBreak{c.last.Sequence + 1, fmt.Sprintf("it is missing; the log ends before its head, entry %d", head.Sequence)}
	}
	if c.want.Hash != [32]byte{} && !c.met {
		return &AuditBreak{c.last.Sequence, "no entry up to here has the hash that was kept: the log was cut or written anew"}
	}
	return nil
}
