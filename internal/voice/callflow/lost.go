package callflow

import (
	"context"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// This file is what becomes of the calls of another node, which has been found silent.

// TakeOver makes those of at most limit calls of a silent node that may go on calls of
// this one, and ends the records of the others as CloseLost does with this node's own:
// they have talked until the node was last heard of. None may go on that has not been
// carried for LongestOutage, as in a database that was restored. More may be left if as many were
// dealt with. Nothing is done if the node has given a sign of life since n was read.
// may is asked within the transaction, perhaps more than once. With an error it is not
// always known what became of it: see Mine.
//
// Any number of nodes may do so at once. They wait for each other at the node's row,
// and whoever comes later finds other calls. A node that lives after all cannot end a
// record that is closed, or another's by now; see Moved.
//
// A recording that runs is left as it is: what there is of it lies on that node's disk.
func (j *Journal) TakeOver(ctx context.Context, n masking.Node, limit int, may func(Left) bool) (taken []Left, closed int, err error) {
	err = j.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		taken, closed = nil, 0
		lost, err := tx.LoseNode(ctx, n, j.clock())
		if err != nil || !lost {
			return err
		}
		open, err := tx.OpenCalls(ctx, n.ID, limit)
		if err != nil || len(open) == 0 {
			return err
		}
		tx.LockAllocations(allocationsOf(open))
		left, err := j.left(ctx, tx, open)
		if err != nil {
			return err
		}
		tooLong := j.clock().Sub(n.SeenAt) > LongestOutage
		left = slices.DeleteFunc(left, func(l Left) bool { return tooLong || !may(l) })
		taken, closed, err = j.divide(ctx, tx, n, open, left)
		return err
	})
	return taken, closed, err
}

// divide makes the calls that are left this node's, and ends the records of the others.
func (j *Journal) divide(ctx context.Context, tx store.Tx, n masking.Node, open []masking.Call, left []Left) (taken []Left, closed int, err error) {
	for _, c := range open {
		i := slices.IndexFunc(left, func(l Left) bool { return l.Call.ID == c.ID })
		if i < 0 {
			closed++
			err = j.closeLost(ctx, tx, c, n.SeenAt)
		} else {
			var moved bool
			if moved, err = tx.MoveCall(ctx, c, j.node); moved {
				l := left[i]
				l.Call.Node = j.node
				taken = append(taken, l)
			}
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return taken, closed, nil
}

// Mine are those of calls that were to be taken over which are this node's and have no
// end: after a TakeOver of which it is not known whether it took place.
func (j *Journal) Mine(ctx context.Context, calls []Left) (mine []Left, err error) {
	ids := make([]masking.CallID, len(calls))
	for i, l := range calls {
		ids[i] = l.Call.ID
	}
	err = j.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		own, err := tx.OwnCalls(ctx, j.node, ids)
		mine = slices.DeleteFunc(slices.Clone(calls), func(l Left) bool { return !slices.Contains(own, l.Call.ID) })
		return err
	})
	return mine, err
}

// Settle writes what has become of calls that were taken over, before anything is sent
// for them: the states of those of goOn, and the ends of the others. gone are those that
// are not this node's any more: others have heard nothing of it meanwhile.
func (j *Journal) Settle(ctx context.Context, until time.Time, taken []Left, goOn map[masking.CallID][]byte) (gone []masking.CallID, err error) {
	calls := make([]masking.Call, len(taken))
	for i, l := range taken {
		calls[i] = l.Call
	}
	err = j.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		_, gone, err = j.sort(ctx, tx, calls, goOn, until)
		return err
	})
	return gone, err
}

// Moved are those of this node's calls that another one has taken over, because it has
// heard nothing of this one.
func (j *Journal) Moved(ctx context.Context, ids []masking.CallID) (moved []masking.CallID, err error) {
	err = j.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		moved, err = tx.MovedCalls(ctx, j.node, ids)
		return err
	})
	return moved, err
}
