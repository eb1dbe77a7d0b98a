package store

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// ErasureFilter narrows a list of erasures; zero fields do not.
type ErasureFilter struct {
	Tenant masking.TenantID
	Digest [32]byte
	Before masking.ErasureID // the page after this one; newest first
	Limit  int
}

// Traces says where a number is looked for: in the rows of one part of a tenant's
// records, behind a place.
type Traces struct {
	Tenant masking.TenantID
	Number e164.Number
	Part   masking.ErasurePart // EraseAllocations, EraseCalls or EraseEvents
	After  string              // a place that FindTraces gave; "" for the beginning
	Until  time.Time           // rows of later are not concerned
	Scan   int                 // rows to look at, at the most
}

// ErasureReader reads erasures and finds what they are to erase.
type ErasureReader interface {
	// Erasure is one of a tenant's, ErrNotFound if it is not his. Within an Update it is
	// locked until the end of the transaction.
	Erasure(ctx context.Context, tenant masking.TenantID, id masking.ErasureID) (masking.Erasure, error)
	Erasures(ctx context.Context, f ErasureFilter) ([]masking.Erasure, error)
	// DueErasures are at most limit that are not finished and due at now, oldest first.
	DueErasures(ctx context.Context, now time.Time, limit int) ([]masking.Erasure, error)
	// ErasedSince tells whether an erasure of the tenant's number with the digest was asked
	// for at the given time or later. Within an Update none is until its end.
	ErasedSince(ctx context.Context, tenant masking.TenantID, digest [32]byte, since time.Time) (bool, error)
	// HeldOf are at most limit calls of the tenant in which the number stands and
	// whose recordings are under legal hold.
	HeldOf(ctx context.Context, tenant masking.TenantID, n e164.Number, limit int) ([]masking.CallID, error)
	// ForwardsTo are at most limit numbers of the tenant's pool whose own policy sends
	// strangers on to the number, in order.
	ForwardsTo(ctx context.Context, tenant masking.TenantID, n e164.Number, limit int) ([]e164.Number, error)
	// FindTraces looks through rows and gives the keys of those that may hold the
	// number, and the place after the last row; "" when there are no more.
	FindTraces(ctx context.Context, t Traces) (keys []string, next string, err error)
}

// ErasureWriter writes erasures and erases.
type ErasureWriter interface {
	// InsertErasure waits for those who have asked ErasedSince, within an Update, of its
	// tenant.
	InsertErasure(ctx context.Context, e masking.Erasure) error
	UpdateErasure(ctx context.Context, e masking.Erasure) error
	// EraseTraces takes the number out of the rows that FindTraces found, as they
	// are now: its place reads as e164.Erased, texts are erased from as
	// e164.Number.EraseFrom says, a call's ladder goes, a recording becomes deleted
	// (its sound is the caller's to remove) and loses its waveform. Counts of calls
	// and times stay. waiting counts rows that are left as they are: an allocation
	// whose end is not written, a call that is up or whose recording is under way or
	// held. An allocation that is active is left and not counted: it names the number anew.
	EraseTraces(ctx context.Context, t Traces, keys []string, now time.Time) (done masking.Removed, waiting int, err error)
	// ForgetNumber removes what is kept under the number itself on the tenant's
	// virtual numbers, but for what his active allocations need: wrong PINs, and how
	// fast the number called of late. It is erased from the notes of his blocked
	// callers; blocked tells that it is one of these itself, which it stays.
	ForgetNumber(ctx context.Context, tenant masking.TenantID, n e164.Number) (done masking.Removed, blocked bool, err error)
}
