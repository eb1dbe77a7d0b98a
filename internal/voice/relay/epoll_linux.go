package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
)

// fillFirst is how many sessions a shard gets before another one starts. A few
// calls on one shard wake it less often than the same calls on many.
const fillFirst = 128

// epoll is the driver of Linux: shards, of which each moves the packets of its
// own sessions.
type epoll struct {
	engine *Engine
	most   int // shards

	mu     sync.Mutex // never taken for a packet
	shards []*shard
}

func fastest(e *Engine) driver { return &epoll{engine: e, most: runtime.GOMAXPROCS(0)} }

func (*epoll) listen(at netip.AddrPort) (socket, error) { return listenRaw(at) }

// start hands a session to a shard.
func (d *epoll) start(s *Session) (reader, error) {
	sh, err := d.choose()
	if err != nil {
		return nil, err
	}
	m := &member{d: d, sh: sh, s: s}
	if err := sh.do(m.join); err != nil {
		m.leave()
		return nil, err
	}
	return m, nil
}

// A member is a session in its shard.
type member struct {
	d  *epoll
	sh *shard
	s  *Session
	at [2][2]int32 // places of each side's RTP and RTCP; only used in the shard's goroutine
}

// join takes in both sides, or none. It runs in the shard's goroutine.
func (m *member) join() (err error) {
	for _, side := range []Side{A, B} {
		if m.at[side], err = m.sh.add(m.s, side, m.s.ends[side].pair); err != nil {
			if side == B {
				m.sh.remove(m.at[A])
			}
			return err
		}
	}
	return nil
}

func (m *member) reseat(side Side, fresh *pair) error {
	old := m.s.ends[side].pair
	err := m.sh.do(func() error {
		at, err := m.sh.add(m.s, side, fresh)
		if err != nil {
			return err
		}
		m.sh.remove(m.at[side])
		m.at[side] = at
		m.s.part(side)
		m.s.renew(side, fresh)
		return nil
	})
	if err == nil {
		old.close()
	}
	return err
}

func (m *member) stop() {
	_ = m.sh.do(func() error {
		m.sh.remove(m.at[A])
		m.sh.remove(m.at[B])
		return nil
	})
	for i := range m.s.ends {
		m.s.ends[i].close()
	}
	m.leave()
}

// leave gives back the place that choose took.
func (m *member) leave() {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	m.sh.sessions--
}

// choose takes a place in the shard with the fewest sessions. It starts another
// shard, up to one for each processor, once all have fillFirst.
func (d *epoll) choose() (*shard, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var least *shard
	for _, sh := range d.shards {
		if least == nil || sh.sessions < least.sessions {
			least = sh
		}
	}
	if least == nil || least.sessions >= fillFirst && len(d.shards) < d.most {
		sh, err := newShard(d.engine)
		if err != nil {
			return nil, fmt.Errorf("start media shard: %w", err)
		}
		d.shards = append(d.shards, sh)
		least = sh
	}
	least.sessions++
	return least, nil
}

func (d *epoll) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, sh := range d.shards {
		_ = sh.do(func() error { return errStop })
		<-sh.done
		sh.free()
	}
	d.shards = nil
}

// errStop ends the loop of a shard.
var errStop = errors.New("stop")
