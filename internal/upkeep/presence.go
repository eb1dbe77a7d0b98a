package upkeep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Presence is a node's part in knowing which nodes there are: it tells the others that
// it is there, and sees which of them are not. After Join, Beat and Look may be called by
// a goroutine each; Leave is the last.
type Presence struct {
	store  store.Store
	clock  func() time.Time
	node   masking.Node // its run; SeenAt is owned by Beat once it has joined
	looks  masking.Lookout
	filled string // store.FactFilled when it joined
}

// ErrOver says that a run is none of its database's: that is being filled with another
// content, or does not know the run. What the run goes on writing would be written into
// something else than what it has read.
var ErrOver = errors.New("the database is not this run's any more")

// pollEvery is how often a node that starts looks whether another has its id.
const pollEvery = masking.Heartbeat / 4

// NewPresence makes the presence of a node, of which ID, Version and Folder are
// given. Clock is what it writes; silence is measured by the machine's own.
func NewPresence(s store.Store, clock func() time.Time, n masking.Node) *Presence {
	return &Presence{store: s, clock: clock, node: n}
}

// Join makes the node known. It refuses if another process with its id is alive, and if
// the database is being filled, or is a backup (ErrOver): whoever fills it looks for nodes
// once that is written, and Join looks for that once the node is, so one of them sees it.
//
// A run on the same folder is over, since this process holds the folder. Any other
// with a lease that runs is waited for: one that lives gives a sign of it within a
// heartbeat.
func (p *Presence) Join(ctx context.Context) error {
	last, err := p.row(ctx)
	if err != nil {
		return err
	}
	if last.Alive(p.now()) && !last.LastRunOf(p.node.Folder) {
		if last, err = p.silent(ctx, last); err != nil {
			return err
		}
	}
	p.node.StartedAt = p.now()
	p.node.SeenAt = p.node.StartedAt
	joined := false
	err = p.store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		if p.filled, err = tx.Fact(ctx, store.FactFilled); err != nil {
			return err
		}
		if err := p.served(ctx, tx); err != nil {
			return err
		}
		joined, err = tx.JoinNode(ctx, p.node, last)
		return err
	})
	if err == nil && !joined {
		return p.taken()
	}
	if err != nil {
		return err
	}
	return p.store.View(ctx, p.served)
}

// served refuses a database that says that it is none to serve from, or another one than
// the node has joined.
func (p *Presence) served(ctx context.Context, tx store.Reader) error {
	state, err := tx.Fact(ctx, store.FactState)
	if err != nil {
		return err
	}
	filled, err := tx.Fact(ctx, store.FactFilled)
	switch {
	case err != nil:
		return err
	case state != "":
		return fmt.Errorf("%w: it is being filled by a copy or a restoration, or is a backup", ErrOver)
	case filled != p.filled:
		return fmt.Errorf("%w: a copy or a restoration has filled it anew", ErrOver)
	}
	return nil
}

// now has no more than what a store keeps.
func (p *Presence) now() time.Time { return p.clock().UTC().Truncate(time.Millisecond) }

func (p *Presence) taken() error {
	return fmt.Errorf("another process is running as %s on this database: a data folder has one process, and a copy of it needs a node.id of its own", p.node.ID)
}

// silent gives the node's row once it is sure that nobody writes it.
func (p *Presence) silent(ctx context.Context, last masking.Node) (masking.Node, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) <= masking.Heartbeat+2*pollEvery; {
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-tick.C:
		}
		n, err := p.row(ctx)
		switch {
		case err != nil:
			return n, err
		case !n.SeenAt.Equal(last.SeenAt):
			return n, p.taken()
		case !n.GoneAt.IsZero(): // it has stopped meanwhile
			return n, nil
		}
	}
	return last, nil
}

// row is the node's own, zero if there is none.
func (p *Presence) row(ctx context.Context) (found masking.Node, err error) {
	nodes, err := p.nodes(ctx)
	for _, n := range nodes {
		if n.ID == p.node.ID {
			found = n
		}
	}
	return found, err
}

func (p *Presence) nodes(ctx context.Context) (nodes []masking.Node, err error) {
	err = p.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		nodes, err = tx.Nodes(ctx)
		return err
	})
	return nodes, err
}

// Beat gives a sign of life, with what the node does now. back tells that others had
// found it silent since the last one: they may have taken calls of its. ErrOver tells that
// the run is over.
func (p *Presence) Beat(ctx context.Context, addresses []string, calls int, draining bool) (back bool, err error) {
	n := p.node
	n.SeenAt, n.Addresses, n.Calls, n.Draining = p.now(), addresses, calls, draining
	ours := false
	err = p.store.Update(store.Urgent(ctx), func(ctx context.Context, tx store.Tx) (err error) {
		if err := p.served(ctx, tx); err != nil {
			return err
		}
		ours, back, err = tx.BeatNode(ctx, n)
		return err
	})
	switch {
	case err != nil:
		return false, err
	case !ours:
		return false, fmt.Errorf("%w: another process is running as %s, or its row is gone", ErrOver, p.node.ID)
	}
	p.node.SeenAt = n.SeenAt
	return back, nil
}

// Leave says that the node is gone, unless it has calls whose records could not be
// closed: those are for others to close, once its lease is over.
func (p *Presence) Leave(ctx context.Context) error {
	return p.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		open, err := tx.OpenCalls(ctx, p.node.ID, 1)
		if err != nil || len(open) > 0 {
			return err
		}
		nodes, err := tx.Nodes(ctx)
		if err != nil {
			return err
		}
		last := p.node
		for _, n := range nodes {
			if n.ID == last.ID {
				last.SeenAt = n.SeenAt // which others may have written: see Hear
			}
		}
		_, err = tx.LoseNode(ctx, last, p.now())
		return err
	})
}

// Look looks at all nodes and gives those that are silent, and those that are lost: see
// masking.Lookout.
func (p *Presence) Look(ctx context.Context) (silent, lost []masking.Node, err error) {
	nodes, err := p.nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	p.looks, silent, lost = p.looks.Look(p.node.ID, nodes, time.Now())
	return silent, lost, nil
}

// Hear gives a sign of life in the name of another node, which was silent as n says and
// has answered since. heard is false if it had given one itself, another node was
// first, or the others have gone on without it.
func (p *Presence) Hear(ctx context.Context, n masking.Node) (heard bool, err error) {
	at := p.now()
	if !at.After(n.SeenAt) { // by the clock of who wrote that
		at = n.SeenAt.Add(time.Millisecond)
	}
	err = p.store.Update(store.Urgent(ctx), func(ctx context.Context, tx store.Tx) (err error) {
		heard, err = tx.HearNode(ctx, n, at)
		return err
	})
	return heard && err == nil, err
}
