package app

import (
	"context"
	"os"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/upkeep"
)

// lookEvery is how often a node looks whether others are silent, and lostAtOnce how
// many records of their calls it closes in one transaction.
const (
	lookEvery  = time.Second
	lostAtOnce = 200
)

// nodeForgotten is how long a node is shown that is not there any more.
const nodeForgotten = 7 * 24 * time.Hour

// join makes this node known to all others, before it takes up calls of its last run.
func (a *App) join(ctx context.Context) error {
	a.presence = upkeep.NewPresence(a.store, a.o.Clock, masking.Node{ID: a.node, Version: a.o.Version, Folder: folderID(a.folder)})
	if err := a.presence.Join(ctx); err != nil {
		return err
	}
	a.onStop(func(ctx context.Context) error { // after the journal has written its last
		if err := a.presence.Leave(ctx); err != nil {
			a.log.Warn("the other nodes see only by the lease that this one has stopped", "error", err.Error())
		}
		return nil
	})
	return nil
}

// beat tells the others that this node lives.
func (a *App) beat(ctx context.Context, _ int) (int, error) {
	return 0, a.presence.Beat(ctx, append([]string{"http://" + a.addrs.HTTP}, a.addrs.SIP...), a.exchange.Live(), a.exchange.Draining())
}

// closeLost looks for nodes that are silent and closes the records of their calls, so
// that each gets its one terminal event whether or not the node comes back.
func (a *App) closeLost(ctx context.Context, batch int) (int, error) {
	lost, err := a.presence.Lost(ctx)
	if err != nil {
		return 0, err
	}
	for _, n := range lost {
		total := 0
		for closed := batch; closed == batch && err == nil; total += closed {
			closed, err = a.journal.CloseLostOf(ctx, n, batch)
		}
		if total > 0 || n.GoneAt.IsZero() {
			a.log.Warn("a node is silent: its calls are closed", "node", n.ID, "calls", total, "silent_since", n.SeenAt)
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func (a *App) forgetNodes(ctx context.Context, batch int) (n int, err error) {
	err = a.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.ForgetNodes(ctx, a.o.Clock().Add(-nodeForgotten), batch)
		return err
	})
	return n, err
}

// machine tells one running machine from all others; "" where it cannot.
func machine() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
