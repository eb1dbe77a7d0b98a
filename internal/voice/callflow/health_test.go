package callflow

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// shown is n calls through an allocation, whose callee's network answers so.
type shown struct {
	n      int
	of     masking.AllocationID
	status int
}

// afterCalls is the health of the number once these calls have ended, each told twice,
// and the data of the events that tell of it.
func afterCalls(t *testing.T, calls ...shown) (h masking.NumberHealth, told []map[string]any) {
	t.Helper()
	d := newDesk(t)
	for _, s := range calls {
		for range s.n {
			c := d.routed()
			c.Allocation = s.of
			d.journal.Note(masking.Began, c, time.UTC)
			c.EndedAt, c.Cause = d.now, masking.CauseDeclined
			c.Attempts = []masking.Attempt{{Target: bob, Trunk: "carrier-a", Status: s.status, Rang: s.status == 200, Answered: s.status == 200}}
			d.journal.Note(masking.Ended, c, kolkata(t))
			d.journal.Note(masking.Ended, c, kolkata(t))
		}
	}
	d.flush()
	d.view(func(ctx context.Context, tx store.Reader) (err error) {
		h, err = tx.NumberHealth(ctx, "acme", virtual)
		return err
	})
	if told = d.told(masking.EventNumberDegraded); len(told) > 0 && !slices.Contains(d.events("acme"), "number.degraded blocked") {
		t.Error("the event names an allocation")
	}
	return h, told
}

func TestANumberThatNetworksRefuseIsToldOfOnce(t *testing.T) {
	through := shown{30, "gvn_a", 200}
	if h, _ := afterCalls(t, through); len(h.Legs) != 0 {
		t.Errorf("nothing speaks against it, and %+v is kept", h)
	}
	two := []shown{through, {3, "gvn_a", 608}, {4, "gvn_b", 608}}
	if h, told := afterCalls(t, two...); len(told) != 0 || h.Status() != masking.HealthOK || h.Refused() != 7 {
		t.Errorf("by calls of two allocations it is %+v, told of %v", h, told)
	}
	three := append(two, shown{1, "gvn_c", 608}, shown{1, "gvn_d", 608})
	h, told := afterCalls(t, three...)
	if len(told) != 1 || told[0]["virtual_number"] != virtual.E164() || told[0]["reason"] != "blocked" || told[0]["refused"] != 8.0 ||
		told[0]["legs"] != 8.0 || !strings.HasSuffix(told[0]["since"].(string), "+05:30") {
		t.Errorf("told %v", told)
	}
	if h.Status() != masking.HealthDegraded || h.Refused() != 9 {
		t.Errorf("by calls of four allocations it is %+v", h)
	}
	// What says nothing of the number does not help it; calls that get through do.
	better := append(three, shown{30, "gvn_b", 503}, shown{14, "gvn_a", 200})
	if h, told := afterCalls(t, better...); h.Status() != masking.HealthDegraded || len(told) != 1 {
		t.Errorf("ok too early: %+v, told %v", h, told)
	}
	if h, told := afterCalls(t, append(better, shown{2, "gvn_a", 200})...); h.Status() != masking.HealthOK || len(told) != 1 {
		t.Errorf("still degraded: %+v, told %v", h, told)
	}
}
