package masking

import (
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
)

// AnyCaller is the claim key that an exclusive number's allocation takes
// besides those of its callers, so that no second allocation fits.
const AnyCaller = "*"

// Claim says that calls of Caller to VirtualNumber belong to one allocation
// until ExpiresAt. (VirtualNumber, Caller) is the store's primary key: the one
// truth for conflicts and for routing.
type Claim struct {
	VirtualNumber e164.Number
	Caller        string // an E.164 number or AnyCaller
	Allocation    AllocationID
	ExpiresAt     time.Time
}

// Claims are what an allocation must hold to live on a number with the given
// sharing, sorted by key so that two writers lock in one order. A number that
// may not call (To of a oneway allocation) claims nothing. A PIN is claimed as a
// caller is: so one live PIN on a number opens one allocation.
func (a Allocation) Claims(sharing Sharing) []Claim {
	callers := make([]string, 0, len(a.From)+len(a.To)+3)
	if sharing == Exclusive && a.Product() == GreenVN {
		callers = append(callers, AnyCaller)
	}
	for _, p := range a.PINs() {
		callers = append(callers, p.Claimant())
	}
	for _, n := range a.Callers() {
		callers = append(callers, n.E164())
	}
	slices.SortFunc(callers, strings.Compare)
	claims := make([]Claim, len(callers))
	for i, c := range callers {
		claims[i] = Claim{VirtualNumber: a.VirtualNumber, Caller: c, Allocation: a.ID, ExpiresAt: a.ExpiresAt}
	}
	return claims
}

// Callers are the numbers that may call and are known by their number: none of a
// GreenPin allocation, which is opened by its PIN whoever calls.
func (a Allocation) Callers() []e164.Number {
	if a.Product() == GreenPin {
		return nil
	}
	if a.Usage == OneWay {
		return slices.Clone(a.From)
	}
	return a.Parties()
}

// Silent are the numbers that stand in the allocation and may not call: To of a
// oneway one. They claim nothing. Still, none of them may hold a claim on the
// same virtual number for another allocation: a call back by somebody who
// stands in two would ring the party of the wrong one.
func (a Allocation) Silent() []e164.Number {
	if a.Usage == OneWay {
		return slices.Clone(a.To)
	}
	return nil
}

// PINs are those that open the allocation: no ToPIN of a oneway one, whose To may
// not call.
func (a Allocation) PINs() []PIN {
	var pins []PIN
	if a.PIN != "" {
		pins = append(pins, a.PIN)
	}
	if a.ToPIN != "" && a.Usage != OneWay {
		pins = append(pins, a.ToPIN)
	}
	return pins
}

// ErrClaimed refuses a claim that somebody else holds. On an exclusive number
// the number is in use; on a shared one it is a party who is met there already.
func ErrClaimed(sharing Sharing) *Error {
	if sharing == Shared {
		return &Error{Kind: Conflict, Code: CodePartyInUse, Field: "caller_id_number",
			Message: "a party already stands in another active allocation on this shared virtual number"}
	}
	return &Error{Kind: Conflict, Code: CodeVirtualNumberInUse, Field: "caller_id_number",
		Message: "the virtual number is in use by another active allocation"}
}
