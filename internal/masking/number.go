package masking

import (
	"slices"
	"time"

	"tandem/internal/e164"
)

// Sharing says how many allocations a virtual number carries at once.
type Sharing string

// The sharing modes.
const (
	// Exclusive, the letter of the published page: one active allocation.
	Exclusive Sharing = "exclusive"
	// Shared: many, as long as no number that may call it stands in two.
	Shared Sharing = "shared"
)

// VirtualNumber is a number of a tenant's pool.
type VirtualNumber struct {
	Number  e164.Number
	Tenant  TenantID
	Sharing Sharing
	Region  string // the operator's own word, e.g. "AP"; may be empty
	Type    string // the operator's own word, e.g. "landline"; may be empty
	// Load is about how many allocations it carries: a hint for the automatic
	// choice, never a reason to refuse.
	Load int
	// RestedAt is when it last gained or lost an allocation; zero if never used.
	RestedAt  time.Time
	CreatedAt time.Time
	// Strangers says what a caller gets whom no allocation here names; the zero
	// value leaves it to the tenant.
	Strangers StrangerPolicy
}

// ParseSharing reads a sharing mode; "" is Exclusive.
func ParseSharing(s string) (Sharing, error) {
	switch Sharing(s) {
	case "", Exclusive:
		return Exclusive, nil
	case Shared:
		return Shared, nil
	}
	return "", invalid(CodeInvalidField, "sharing", `sharing must be "exclusive" or "shared"`)
}

// Preferences narrow the automatic choice of a number; empty fields do not care.
type Preferences struct {
	Region string
	Type   string
	Strict bool // no other region or type will do
}

// Pick is one question to the pool: usable numbers of this kind, the least
// loaded first, of those the one longest at rest first.
type Pick struct {
	Sharing Sharing
	Region  string // "" = any
	Type    string // "" = any
}

// Picks are the questions to ask, in order, until one names a number: shared
// before exclusive, since a shared number costs the pool nothing; what the
// application prefers before what merely exists.
func (p Preferences) Picks() []Pick {
	picks := []Pick{{Shared, p.Region, p.Type}, {Exclusive, p.Region, p.Type}}
	if p.Strict || (p.Region == "" && p.Type == "") {
		return picks
	}
	return append(picks, Pick{Sharing: Shared}, Pick{Sharing: Exclusive})
}

// Rank orders usable numbers: least loaded, then longest at rest, then by
// number, so that two nodes with the same view choose alike.
func Rank(usable []VirtualNumber) []VirtualNumber {
	ranked := slices.Clone(usable)
	slices.SortFunc(ranked, func(a, b VirtualNumber) int {
		if a.Load != b.Load {
			return a.Load - b.Load
		}
		if c := a.RestedAt.Compare(b.RestedAt); c != 0 {
			return c
		}
		return a.Number.Compare(b.Number)
	})
	return ranked
}

// ErrNotInPool refuses a virtual number that the tenant does not have.
func ErrNotInPool() *Error {
	return invalid(CodeNotInPool, "caller_id_number", "caller_id_number is not in the tenant's pool")
}

// ErrNoNumber refuses an automatic choice; retry is the earliest expiry that
// would free a number, zero when none is known.
func ErrNoNumber(retry time.Time) *Error {
	return &Error{Kind: Exhausted, Code: CodeNoNumberAvailable, RetryAfter: retry,
		Message: "no number of the pool can carry this allocation now"}
}
