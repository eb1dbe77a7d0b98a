package app

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sipua"
)

// This file is what is asked of nodes of which the database has heard nothing: one that
// only the database cannot be reached from lives, and carries its talks. What it answers
// to another node, by SIP, that one writes down as its sign of life.

// patience is how long an answer of a silent node is waited for before it is asked anew,
// and how old an answer may be that is written down: whoever died after it is found
// lost that much later.
const patience = 1500 * time.Millisecond

// heardOnce is for how long a node that answers is told of in the log once.
const heardOnce = 30 * time.Second

// rollCall is the questions to silent nodes. One goroutine uses it.
type rollCall struct {
	agent   *sipua.Agent
	answers chan struct{} // one is there
	open    map[string]*inquiry
	told    map[string]time.Time // when a node was heard last that the log knows of
}

// inquiry is a question to one node.
type inquiry struct {
	of     masking.Node // as it was known then
	sent   time.Time
	heard  atomic.Pointer[time.Time]
	giveUp func()
}

func newRollCall(agent *sipua.Agent) *rollCall {
	return &rollCall{agent: agent, answers: make(chan struct{}, 1), open: map[string]*inquiry{}, told: map[string]time.Time{}}
}

// call asks those nodes that are silent, each by one question at a time, and gives up
// questions to all others. A node that cannot be asked is as one that does not answer.
func (r *rollCall) call(silent []masking.Node, now time.Time) {
	still := map[string]*inquiry{}
	for _, n := range silent {
		if q := r.open[n.ID]; q != nil && q.of.SameLife(n) && now.Sub(q.sent) < patience {
			still[n.ID] = q
		} else if q := r.ask(n, now); q != nil {
			still[n.ID] = q
		}
	}
	for id, q := range r.open {
		if still[id] != q {
			q.giveUp()
		}
	}
	r.open = still
}

// ask asks one node; nil if it cannot be asked.
func (r *rollCall) ask(n masking.Node, now time.Time) *inquiry {
	at, ok := takesSIP(n)
	if !ok {
		return nil
	}
	q := &inquiry{of: n, sent: now}
	var err error
	q.giveUp, err = r.agent.AskNode(n.ID, at, func() {
		heard := time.Now()
		q.heard.Store(&heard)
		poke(r.answers)
	})
	if err != nil {
		return nil
	}
	return q
}

// answered takes out the questions that are answered, and gives who was asked.
func (r *rollCall) answered(now time.Time) (nodes []masking.Node) {
	for id, q := range r.open {
		heard := q.heard.Load()
		if heard == nil {
			continue
		}
		delete(r.open, id)
		if now.Sub(*heard) < patience {
			nodes = append(nodes, q.of)
		}
	}
	return nodes
}

// news reports whether it is long ago that a node was heard which is heard now.
func (r *rollCall) news(id string, now time.Time) bool {
	maps.DeleteFunc(r.told, func(_ string, last time.Time) bool { return now.Sub(last) > heardOnce })
	_, known := r.told[id]
	r.told[id] = now
	return !known
}

// hear gives the signs of life of those who have answered, in their names.
func (a *App) hear(ctx context.Context) error {
	for _, n := range a.roll.answered(time.Now()) {
		heard, err := a.presence.Hear(ctx, n)
		if err != nil {
			return err
		}
		if heard {
			a.metrics.heard.Inc()
		}
		if a.roll.news(n.ID, time.Now()) {
			a.log.Warn("a node is silent in the database, but answers: its calls are left to it", "node", n.ID, "silent_since", n.SeenAt)
		}
	}
	return nil
}
