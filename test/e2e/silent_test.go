package e2e

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	server "tandem/internal/testkit/postgres"
)

// tunnel leads to a server, as long as it is not told to hold back what both sides say.
type tunnel struct {
	net.Listener
	to      string
	mu      sync.Mutex
	carries chan struct{} // closed while it does
	wg      sync.WaitGroup
}

func newTunnel(t *testing.T, port int) *tunnel {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &tunnel{Listener: l, to: fmt.Sprintf("127.0.0.1:%d", port), carries: make(chan struct{})}
	close(u.carries)
	u.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			u.wg.Go(func() { u.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // ends Accept
		u.wg.Wait()
	})
	return u
}

func (u *tunnel) carry(near net.Conn) {
	defer near.Close()
	u.wait()
	far, err := net.Dial("tcp", u.to)
	if err != nil {
		return
	}
	defer far.Close()
	u.wg.Go(func() { u.copy(near, far) })
	u.copy(far, near)
}

// copy carries one direction; its end is the end of both.
func (u *tunnel) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		u.wait()
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

func (u *tunnel) wait() {
	u.mu.Lock()
	carries := u.carries
	u.mu.Unlock()
	<-carries
}

// fallSilent holds everything back until the function that it gives is called.
func (u *tunnel) fallSilent() (speak func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	carries := make(chan struct{})
	u.carries = carries
	return sync.OnceFunc(func() { close(carries) })
}

func TestADatabaseThatFallsSilentHoldsNoCallUpAndDoublesNothing(t *testing.T) {
	srv := server.Start(t)
	way := newTunnel(t, srv.Port)
	st := newStage(t, setting{sharing: "shared", environ: []string{fmt.Sprintf("TANDEM_DATABASE_URL=postgres://tandem@%s/%s?sslmode=disable",
		way.Addr(), srv.Database(t, ""))}})
	talks := st.talkers()
	st.until("the answers to be written", func() bool { return st.App.Leftovers().Entries == 0 })

	speak := way.fallSilent()
	defer speak()
	st.must(talks[1][1].Hangup(st.ctx))
	st.over(talks[1][0], talks[1][1])
	late := st.dial(st.in, dave)
	if status := st.refused(late); status != 503 || !saysWhenToComeBack(late) {
		t.Errorf("a new call got %d", status)
	}
	st.until("the end to be on disk", func() bool {
		_, text := st.ops("/metrics")
		return regexp.MustCompile(`(?m)^tandem_journal_spooled [1-9]`).MatchString(text)
	})
	st.until("it to be taken for away", func() bool { return strings.Contains(st.Log.String(), "the database is away: talks go on") })
	st.refusedForNow("GET", "/v1/tenants/acme/calls", nil)
	st.hear(talks[0])

	speak()
	st.until("readiness", func() bool { status, _ := st.ops("/readyz"); return status == 200 })
	st.hear(talks[0])
	st.must(talks[0][0].Hangup(st.ctx))
	st.over(talks[0][0], talks[0][1])
	st.settle()
	st.closedOnce(map[string]int{"caller_hung_up": 1, "callee_hung_up": 1})
}

// What waits for an answer is given 15 s, but not by a node that is to stop.
func TestAStopWhileTheDatabaseIsSilentIsOverBeforeItSpeaks(t *testing.T) {
	srv := server.Start(t)
	way := newTunnel(t, srv.Port)
	st := newStage(t, setting{sharing: "shared", environ: []string{fmt.Sprintf("TANDEM_DATABASE_URL=postgres://tandem@%s/%s?sslmode=disable",
		way.Addr(), srv.Database(t, ""))}})
	speak := way.fallSilent()
	defer speak()
	st.until("it to be taken for away", func() bool { return strings.Contains(st.Log.String(), "the database is away: talks go on") })
	stopped := make(chan error, 1)
	go func() { stopped <- st.App.Stop(st.ctx) }()
	select {
	case err := <-stopped:
		st.must(err)
	case <-time.After(10 * time.Second):
		t.Error("the stop waits for the database")
		<-stopped
	}
}
