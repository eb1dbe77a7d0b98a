package callflow

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// judgeNumber notes what an ended call has shown of its virtual number, in the
// transaction of its record, and tells if that made the number degraded. Most calls
// cost one read by key: nothing is written of numbers that nothing speaks against.
func (j *Journal) judgeNumber(ctx context.Context, tx store.Tx, e entry) error {
	legs := e.call.ShownLegs()
	if len(legs) == 0 {
		return nil
	}
	c := e.call
	for range 3 { // another node may write at the same time; one call more or less is no matter
		was, err := tx.NumberHealth(ctx, c.Tenant, c.VirtualNumber)
		if masking.KindOf(err) == masking.NotFound {
			return nil // it has left the pool
		}
		if err != nil {
			return err
		}
		is, turned := was.After(legs)
		if len(was.Legs)+len(is.Legs) == 0 {
			return nil
		}
		changed, err := tx.SetNumberHealth(ctx, c.Tenant, c.VirtualNumber, was, is)
		switch {
		case err != nil:
			return err
		case changed && turned:
			return tx.AppendEvent(ctx, masking.DegradedEvent(newEventID(e.at), c, is, e.zone, e.at))
		case changed:
			return nil
		}
	}
	return nil
}
