package masking

import (
	"encoding/base32"
	"encoding/binary"
	"time"
)

// The identifiers of the API. Each begins with a prefix that tells its kind.
type (
	TenantID     string // chosen by the operator, e.g. "acme"
	AccountSID   string // "ac_…", the user name of HTTP Basic
	TokenID      string // "tok_…"
	AllocationID string // "gvn_…" or "gp_…"
	CallID       string // "call_…", call_sid in events
	EventID      string // "evt_…"
	ErasureID    string // "ers_…"
)

// Prefixes of identifiers.
const (
	PrefixAccount    = "ac_"
	PrefixToken      = "tok_"
	PrefixAllocation = "gvn_"
	PrefixPIN        = "gp_"
	PrefixCall       = "call_"
	PrefixEvent      = "evt_"
	PrefixErasure    = "ers_"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID makes an identifier: prefix, then 26 characters that sort by the
// millisecond of now and carry the 80 random bits, so that rows made together
// lie together in an index while nobody can guess a neighbour.
func NewID(prefix string, now time.Time, random [10]byte) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	copy(b[6:], random[:])
	return prefix + idEncoding.EncodeToString(b[:])
}
