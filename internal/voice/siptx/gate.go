package siptx

import (
	"sync"
	"sync/atomic"
)

// A gate counts those inside and, once closed, lets nobody in. Timers run their
// work inside it, so that Close can wait for them.
type gate struct {
	n       atomic.Int64 // those inside, plus shut once closed
	once    sync.Once
	drained chan struct{}
}

const shut = 1 << 40

func (g *gate) enter() bool {
	if g.n.Add(1) < shut {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.n.Add(-1) == shut {
		g.once.Do(func() { close(g.drained) })
	}
}

// close shuts the gate and waits until the last one has left.
func (g *gate) close() {
	g.n.Add(shut + 1)
	g.leave()
	<-g.drained
}
