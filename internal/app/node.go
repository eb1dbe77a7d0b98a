package app

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/upkeep"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/callflow"
	"tandem/internal/voice/siptx"
)

// lookEvery is how often a node looks whether others are silent, and lostAtOnce how
// many of their calls it deals with in one transaction: few, so that several nodes have
// a part of them each.
const (
	lookEvery  = 500 * time.Millisecond
	lostAtOnce = 25
)

// nodeForgotten is how long a node is shown that is not there any more, and its disk
// waited for.
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
	a.starting = upkeep.Start(a.log, upkeep.Job{Name: "heartbeat", Every: masking.Heartbeat, Batch: 1, Run: a.beatEarly})
	a.onStop(func(context.Context) error { a.starting.Stop(); return nil })
	return nil
}

// beatEarly is beat while the node starts: taking up a thousand calls takes its time.
func (a *App) beatEarly(ctx context.Context, _ int) (int, error) {
	back, err := a.signOfLife(ctx, nil, 0, false)
	a.missed = a.missed || back || err != nil
	return 0, err
}

// signOfLife shuts the database for this process if that is not its any more: requests and
// new calls are refused from then on, talks go on, and what becomes of them stays in the
// data folder.
func (a *App) signOfLife(ctx context.Context, addresses []string, calls int, draining bool) (back bool, err error) {
	back, err = a.presence.Beat(ctx, addresses, calls, draining)
	if errors.Is(err, upkeep.ErrOver) && a.gate.Shut() {
		a.log.Error("no request and no new call is taken any more: start this server again once the database is complete", "error", err.Error())
	}
	return back, err
}

// beat tells the others that this node lives.
func (a *App) beat(ctx context.Context, _ int) (int, error) {
	back, err := a.signOfLife(ctx, append([]string{"http://" + a.addrs.HTTP}, a.agent.Reached()...), a.exchange.Live(), a.exchange.Draining())
	a.missed = a.missed || back || err != nil // with an error it may have been written, and the next does not tell
	if err == nil && a.missed {
		err = a.letGo(ctx)
	}
	return 0, err
}

// meet finds where the other nodes take SIP: requests within dialogs that are not of this
// node are passed on to them. One that is silent is among them, and for a while one that is
// gone: as long as it may have the dialog nobody else says that there is none, which would end
// it; and its answers are to be let in. While the database is away from
// here the list stays as it was, for the others ask then.
func (a *App) meet(ctx context.Context, _ int) (int, error) {
	return 0, a.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		nodes, err := tx.Nodes(ctx)
		if err != nil {
			return err
		}
		var others []siptx.Target
		for _, n := range nodes {
			if t, ok := takesSIP(n); ok && n.ID != a.node && n.MayHaveDialogs(a.o.Clock()) {
				others = append(others, t)
			}
		}
		a.agent.SetFellows(others)
		return nil
	})
}

// takesSIP is where a node is asked: over UDP, else TCP. One that speaks TLS alone is not.
func takesSIP(n masking.Node) (siptx.Target, bool) {
	for _, network := range []string{"udp", "tcp"} {
		for _, at := range n.Addresses {
			rest, fits := strings.CutPrefix(at, network+"://")
			addr, err := netip.ParseAddrPort(rest)
			if fits && err == nil && !addr.Addr().IsUnspecified() {
				return siptx.Target{Network: network, Addr: addr}, true
			}
		}
	}
	return siptx.Target{}, false
}

// letGo leaves the calls to the others that they have taken while they heard nothing of
// this node.
func (a *App) letGo(ctx context.Context) error {
	ids := a.exchange.Calls()
	moved, err := a.journal.Moved(ctx, ids)
	if err != nil {
		return err
	}
	a.missed = false
	if len(moved) > 0 {
		a.log.Warn("the other nodes had heard nothing of this one", "calls", len(ids), "taken_by_others", len(moved))
	}
	a.exchange.LetGo(moved)
	for _, id := range moved {
		a.ladders.Forget(id)
	}
	return nil
}

// mindLost looks for nodes that are silent, and asks them whether they live. With the
// talks of those that are lost it goes on; the records of their other calls are
// closed, so that each gets its one terminal event whether or not the node comes back.
func (a *App) mindLost(ctx context.Context, batch int) (int, error) {
	if err := a.goOnUnsure(ctx); err != nil {
		return 0, err
	}
	if err := a.hear(ctx); err != nil {
		return 0, err
	}
	silent, lost, err := a.presence.Look(ctx)
	if err != nil {
		return 0, err
	}
	a.roll.call(silent, time.Now())
	for _, n := range lost {
		if a.exchange.Draining() && a.o.Clock().Sub(n.SeenAt) < 2*masking.Lease {
			continue // a node that stays goes on with the talks, if there is one
		}
		taken, closed, more := 0, 0, batch
		for more == batch && err == nil {
			var t, c int
			t, c, err = a.takeOver(ctx, n, batch)
			taken, closed, more = taken+t, closed+c, t+c
		}
		a.metrics.lost.WithLabelValues("taken_over").Add(float64(taken))
		a.metrics.lost.WithLabelValues("closed").Add(float64(closed))
		if taken+closed > 0 || n.GoneAt.IsZero() {
			a.log.Warn("a node is silent", "node", n.ID, "silent_since", n.SeenAt, "calls_taken_over", taken, "calls_closed", closed)
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// unsure is a call that was to be taken over when the database did not answer.
type unsure struct {
	call  callflow.Left
	until time.Time // its node was last heard of
}

// takeOver deals with some of a silent node's calls.
func (a *App) takeOver(ctx context.Context, n masking.Node, batch int) (went, closed int, err error) {
	taken, closed, err := a.journal.TakeOver(ctx, n, batch, a.mayTake)
	if err != nil {
		for _, l := range taken {
			a.unsure[l.Call.ID] = unsure{l, n.SeenAt}
		}
		return 0, 0, err
	}
	return len(taken), closed, a.goOn(ctx, taken, n.SeenAt)
}

// goOnUnsure goes on with calls that are this node's after all.
func (a *App) goOnUnsure(ctx context.Context) error {
	if len(a.unsure) == 0 {
		return nil
	}
	until := map[time.Time][]callflow.Left{}
	for _, u := range a.unsure {
		until[u.until] = append(until[u.until], u.call)
	}
	for at, calls := range until {
		mine, err := a.journal.Mine(ctx, calls)
		if err != nil {
			return err
		}
		for _, l := range calls {
			delete(a.unsure, l.Call.ID)
		}
		if err := a.goOn(ctx, mine, at); err != nil {
			return err
		}
	}
	return nil
}

// goOn goes on with calls that were taken over. Nothing is sent before it is durable with
// which numbers: while the database is away the calls wait. A node that drains leaves
// them to the others without a word.
func (a *App) goOn(ctx context.Context, taken []callflow.Left, until time.Time) error {
	if len(taken) == 0 {
		return nil
	}
	goOn := a.resumeCalls(taken, until, a.media.Move)
	if a.exchange.Draining() { // since they were taken
		a.exchange.LetGo(slices.Collect(maps.Keys(goOn)))
		return nil
	}
	gone, err := a.journal.Settle(ctx, until, taken, goOn)
	for told := false; err != nil && masking.KindOf(err) == "" && ctx.Err() == nil && !a.exchange.Draining(); told = true {
		if !told {
			a.log.Warn("talks of a silent node wait for the database, to go on here", "talks", len(goOn), "error", err.Error())
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
		gone, err = a.journal.Settle(ctx, until, taken, goOn)
	}
	if err != nil { // told by who called
		gone = slices.Collect(maps.Keys(goOn))
	}
	a.exchange.LetGo(gone) // before they are told to ask anybody
	a.exchange.Verify()
	return err
}

// mayTake reports whether a talk of another node may go on here.
func (a *App) mayTake(l callflow.Left) bool {
	st, err := b2bua.ReadState(l.State)
	return err == nil && !a.exchange.Draining() && a.agent.TakesOver(st.Legs[b2bua.A]) && a.agent.TakesOver(st.Legs[b2bua.B])
}

// forgetNodes forgets nodes that have not been there for long, and gives up what lies on
// their disks of recordings: nobody waits for it any more.
func (a *App) forgetNodes(ctx context.Context, batch int) (n int, err error) {
	since := a.o.Clock().Add(-nodeForgotten)
	if err := a.giveUpRecordings(ctx, since); err != nil {
		return 0, err
	}
	err = a.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.ForgetNodes(ctx, since, batch)
		return err
	})
	return n, err
}

// giveUpRecordings ends the recordings on the disks of nodes without a sign of life since
// the given time.
func (a *App) giveUpRecordings(ctx context.Context, since time.Time) error {
	var nodes []masking.Node
	err := a.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		nodes, err = tx.Nodes(ctx)
		return err
	})
	for _, n := range nodes {
		if err != nil {
			return err
		}
		if !n.SeenAt.Before(since) {
			continue
		}
		records := callflow.Recordings{Store: a.store, Clock: a.o.Clock}
		var lost int
		lost, err = records.CloseLost(ctx, n.ID, func(masking.TenantID, masking.CallID) bool { return false })
		if lost > 0 {
			a.log.Warn("recordings of a node that has not come back are given up", "node", n.ID, "recordings", lost)
		}
	}
	return err
}

// machine tells one running machine from all others; "" where it cannot.
func machine() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
