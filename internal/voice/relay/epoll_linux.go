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
func (d *epoll) start(s *Session) (stop func(), err error) {
	sh, err := d.choose()
	if err != nil {
		return nil, err
	}
	leave := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		sh.sessions--
	}
	at := new([4]int32)
	if err := sh.do(func() error { return sh.add(s, at) }); err != nil {
		leave()
		return nil, err
	}
	return func() {
		_ = sh.do(func() error { sh.remove(at); return nil })
		for i := range s.ends {
			s.ends[i].close()
		}
		leave()
	}, nil
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
