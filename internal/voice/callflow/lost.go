package callflow

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// CloseLostOf ends the records of at most limit calls of another node, that has been
// found silent, as CloseLost does with this node's own: they have talked until the
// node was last heard of. closed is how many; more may be left if it is limit. Nothing
// is done if the node has given a sign of life since n was read.
//
// Any number of nodes may do so at once. They wait for each other at the node's row,
// and whoever comes later finds the calls ended. A node that lives after all, and goes
// on with a call whose record is closed, cannot end it a second time.
//
// A recording that runs is left as it is: what there is of it lies on that node's disk.
func (j *Journal) CloseLostOf(ctx context.Context, n masking.Node, limit int) (closed int, err error) {
	err = j.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		closed = 0
		lost, err := tx.LoseNode(ctx, n, j.clock())
		if err != nil || !lost {
			return err
		}
		open, err := tx.OpenCalls(ctx, n.ID)
		if err != nil {
			return err
		}
		for _, c := range open[:min(limit, len(open))] {
			if err := j.closeLost(ctx, tx, c, n.SeenAt); err != nil {
				return err
			}
			closed++
		}
		return nil
	})
	return closed, err
}
