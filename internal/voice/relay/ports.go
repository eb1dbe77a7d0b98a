package relay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ErrNoPorts means that every port pair is in use, rests after a call, or is
// taken by another program.
var ErrNoPorts = errors.New("no free media port")

// kernelTries is how many ports we let the kernel choose before giving up; one
// in two is even, and its neighbour is nearly always free.
const kernelTries = 64

// A pair is the two sockets of one side: RTP on an even port, RTCP on the next.
type pair struct {
	port      uint16
	rtp, rtcp socket
}

func (p *pair) close() {
	p.rtp.close()
	p.rtcp.close()
}

func (p *pair) drain() {
	p.rtp.drain()
	p.rtcp.drain()
}

// mostDrained is how many packets of a socket are thrown away before it is read:
// more than its buffer holds. Whoever sends faster than that is not waited for.
const mostDrained = 4096

// ports hands out port pairs. An even number is in exactly one of three
// places: free, out with a session, or resting. While it rests no socket of
// ours is bound to it, so that what a dead call's peer still sends is lost.
//
// With no range of its own it takes what the kernel offers, except what rests.
type ports struct {
	ip     netip.Addr
	ranged bool
	all    int // pairs of the range
	rest   time.Duration
	bound  func(at netip.AddrPort) (socket, error) // port 0: the kernel chooses

	mu      sync.Mutex
	free    []uint16
	resting []restingPort // oldest first: all rest equally long
}

type restingPort struct {
	port  uint16
	until time.Duration
}

// newPorts makes an allocator of the even ports from low to high whose odd
// neighbour is in the range too; 0, 0 means the kernel chooses. It binds
// nothing before bound is set.
func newPorts(ip netip.Addr, low, high uint16, rest time.Duration) (*ports, error) {
	p := &ports{ip: ip, ranged: low != 0 || high != 0, rest: rest}
	if !p.ranged {
		return p, nil
	}
	for n := int(low) + int(low)%2; n < int(high); n += 2 {
		if n > 0 {
			p.free = append(p.free, uint16(n))
		}
	}
	if p.all = len(p.free); p.all < 2 {
		return nil, fmt.Errorf("media ports %d-%d hold less than the two pairs that a call needs", low, high)
	}
	return p, nil
}

// open binds a random free pair. A pair that another program holds is passed
// over and stays free for later.
func (p *ports) open(now time.Duration) (*pair, error) {
	if !p.ranged {
		return p.openAny(now)
	}
	var taken []uint16
	defer func() {
		p.mu.Lock()
		p.free = append(p.free, taken...)
		p.mu.Unlock()
	}()
	for {
		port, ok := p.take(now)
		if !ok {
			return nil, ErrNoPorts
		}
		sockets, err := p.bind(port)
		if err == nil {
			return sockets, nil
		}
		taken = append(taken, port)
		if !othersPort(err) {
			return nil, err
		}
	}
}

// openAny binds a pair around a port that the kernel chooses.
func (p *ports) openAny(now time.Duration) (*pair, error) {
	for range kernelTries {
		first, err := p.bound(netip.AddrPortFrom(p.ip, 0))
		if err != nil {
			return nil, err
		}
		port := first.port()
		second, err := p.bound(netip.AddrPortFrom(p.ip, port^1))
		if err != nil {
			first.close()
			if othersPort(err) {
				continue
			}
			return nil, err
		}
		sockets := &pair{port: port &^ 1, rtp: first, rtcp: second}
		if port%2 == 1 {
			sockets.rtp, sockets.rtcp = second, first
		}
		if sockets.port == 0 || p.rests(sockets.port, now) {
			sockets.close()
			continue
		}
		return sockets, nil
	}
	return nil, ErrNoPorts
}

// take removes a random port from the free ones.
func (p *ports) take(now time.Duration) (uint16, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	if len(p.free) == 0 {
		return 0, false
	}
	i := int(randomUint64() % uint64(len(p.free)))
	port, last := p.free[i], len(p.free)-1
	p.free[i] = p.free[last]
	p.free = p.free[:last]
	return port, true
}

// reopen binds the pair of a session that another process had. On an error the
// port rests: the session's peer may send there.
func (p *ports) reopen(port uint16, now time.Duration) (*pair, error) {
	if port == 0 || port%2 != 0 {
		return nil, ErrNoPorts
	}
	if p.ranged && !p.takeOne(port, now) {
		return nil, ErrNoPorts
	}
	sockets, err := p.bind(port)
	if err != nil {
		p.retire(port, now)
		return nil, err
	}
	return sockets, nil
}

// takeOne removes a port from the free ones, if it is one of them.
func (p *ports) takeOne(port uint16, now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	i := slices.Index(p.free, port)
	if i >= 0 {
		p.free = slices.Delete(p.free, i, i+1)
	}
	return i >= 0
}

// wake frees the ports that have rested. The caller holds mu.
func (p *ports) wake(now time.Duration) {
	n := 0
	for n < len(p.resting) && p.resting[n].until <= now {
		if p.ranged {
			p.free = append(p.free, p.resting[n].port)
		}
		n++
	}
	p.resting = append(p.resting[:0], p.resting[n:]...)
}

// retire lets a port rest. Its sockets must be closed.
func (p *ports) retire(port uint16, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting = append(p.resting, restingPort{port, now + p.rest})
}

// unused frees a port that no peer was ever told of. Its sockets must be closed.
func (p *ports) unused(port uint16) {
	if !p.ranged {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, port)
}

// rests reports whether a port that the kernel chose is one of those resting.
func (p *ports) rests(port uint16, now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	for _, r := range p.resting {
		if r.port == port {
			return true
		}
	}
	return false
}

// count gives how many ports are free (-1 when the kernel chooses) and resting.
func (p *ports) count(now time.Duration) (free, resting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	if !p.ranged {
		return -1, len(p.resting)
	}
	return len(p.free), len(p.resting)
}

// spare reports whether at least a quarter of the pairs is free.
func (p *ports) spare(now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	return !p.ranged || 4*len(p.free) >= p.all
}

// bind opens the two sockets of a pair.
func (p *ports) bind(port uint16) (*pair, error) {
	rtp, err := p.bound(netip.AddrPortFrom(p.ip, port))
	if err != nil {
		return nil, err
	}
	rtcp, err := p.bound(netip.AddrPortFrom(p.ip, port+1))
	if err != nil {
		rtp.close()
		return nil, err
	}
	return &pair{port: port, rtp: rtp, rtcp: rtcp}, nil
}

// othersPort reports whether a bind failed because of this very port, so that
// another one may do; running out of descriptors is no such reason.
func othersPort(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES)
}

// randomUint64 is unpredictable: ports, SSRCs and first numbers must not be
// guessed by who wants to inject media.
func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program first
	return binary.BigEndian.Uint64(b[:])
}
