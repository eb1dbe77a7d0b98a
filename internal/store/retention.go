package store

import (
	"context"
	"time"

	"tandem/internal/masking"
)

// RetentionReader finds what a tenant keeps no longer.
type RetentionReader interface {
	// AnyOutlived tells whether one of ForgetCalls, ForgetEvents and
	// ForgetAllocations would remove something of the tenant.
	AnyOutlived(ctx context.Context, tenant masking.TenantID, before time.Time) (bool, error)
	// EventsGone is the place of the last event that ForgetEvents has removed of the
	// tenant's, 0 if none: whoever has read no further has missed events.
	EventsGone(ctx context.Context, tenant masking.TenantID) (int64, error)
}

// RetentionWriter removes what a tenant keeps no longer: at most limit rows at a
// time (none with 0), the oldest first. Each gives how many it removed.
type RetentionWriter interface {
	// ForgetCalls removes calls that began before the given time and have ended, each
	// with its ladder and what is known of its recording. A call stays whose recording
	// is under way or stored, or deleted while its sound is not yet gone.
	ForgetCalls(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error)
	// ForgetEvents removes events from before the given time, and what was written of
	// their deliveries. An event stays that an active endpoint of the tenant has not
	// looked at yet, or of which a delivery to one is neither delivered nor dead.
	// EventsGone tells of it from then on. An event that another transaction sends
	// again (SendAgain) is removed before, or stays.
	ForgetEvents(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error)
	// ForgetAllocations removes allocations whose end is written and was before the
	// given time, with their wrong entries. One stays as long as there is the record
	// of a call through it.
	ForgetAllocations(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) (int, error)
}
