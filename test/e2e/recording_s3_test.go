package e2e

import (
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tandem/internal/voice/phone"
)

// bucketServer is an S3 written by others, which goes away and comes back at the
// same address: while it is away, who connects is hung up on.
type bucketServer struct {
	net.Listener
	mu    sync.Mutex
	away  bool
	conns map[net.Conn]bool
	tries int // connections while it was away
}

// newBucketServer starts one that is away, with one bucket.
func newBucketServer(t *testing.T) (s *bucketServer, blobURL string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("tandem"); err != nil {
		t.Fatal(err)
	}
	s = &bucketServer{Listener: l, away: true, conns: map[net.Conn]bool{}}
	server := &http.Server{Handler: gofakes3.New(backend).Server(), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(s) // ends with the Close below
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
	return s, "s3://tandem/calls?region=eu-west-1&endpoint=" + url.QueryEscape("http://"+l.Addr().String())
}

// Accept takes the next connection that is not to be hung up on.
func (s *bucketServer) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if s.admit(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

func (s *bucketServer) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.tries++
		return false
	}
	s.conns[c] = true
	return true
}

// come lets it be there, or go away in the midst of whatever it does.
func (s *bucketServer) come(there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = !there
	for c := range s.conns {
		if s.away {
			_ = c.Close()
			delete(s.conns, c)
		}
	}
}

func (s *bucketServer) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func TestRecordingsWaitForAStoreThatIsAway(t *testing.T) {
	s3, blobURL := newBucketServer(t)
	st := newStage(t, setting{environ: []string{"TANDEM_BLOB_URL=" + blobURL}})
	st.allocate(recorded)
	said := tape{phone.Noise(21, 4*phone.Rate), phone.Noise(22, 4*phone.Rate)}
	d := st.desk("acme")
	call := func(meanwhile func()) string {
		t.Helper()
		a := st.dial(st.in, alice)
		b := st.called()
		st.must(b.Answer(phone.Reply{Audio: phone.Samples(said[1])}))
		st.must(a.Answered(st.ctx))
		a.Say(phone.Samples(said[0]))
		st.must(b.Hears(st.ctx, phone.Rate))
		meanwhile()
		st.must(a.Said(st.ctx))
		st.must(b.Said(st.ctx))
		for side, c := range []*phone.Call{a, b} {
			st.must(c.Hears(st.ctx, len(said[0])-phone.Rate/2))
			if lost := c.Hearing().Lost; lost > 0 {
				t.Errorf("side %d lost %d packets", side, lost)
			}
		}
		st.must(a.Hangup(st.ctx))
		st.over(a, b)
		waitFor(t, st.ctx, func() bool { return len(d.told("call.completed", d.calls()[0])) == 1 }, "the end of the call")
		return d.calls()[0]
	}
	waits := func(id string) {
		t.Helper()
		before := s3.tried()
		waitFor(t, st.ctx, func() bool { return s3.tried() >= before+2 }, "more than one try to store it")
		if got := d.ask("GET", soundPath(id), ""); d.info(id).Status != "recording" || got.Status != 409 || got.code() != "recording_not_ready" {
			t.Errorf("with the store away: %s, %d %s", d.info(id).Status, got.Status, got.Body)
		}
		if len(d.told("recording.ready", id))+len(d.told("recording.failed", id)) != 0 {
			t.Error("something was told of a recording that waits")
		}
	}
	arrives := func(id string) {
		t.Helper()
		_, sound := d.stored(id)
		d.holds("left", sound[0], said[0])
		d.holds("right", sound[1], said[1])
	}

	first := call(func() {}) // away from the beginning
	waits(first)
	s3.come(true)
	arrives(first)

	second := call(func() { s3.come(false) }) // goes away during a call
	waits(second)
	if got := d.ask("GET", soundPath(first), ""); got.Status != 503 {
		t.Errorf("what is in a store that is away: %d %s", got.Status, got.Body)
	}
	s3.come(true)
	arrives(second)
	d.stored(first)
	nothingPlain(t, st.Dir, said[0], national(alice), national(bob))
	if left := spoolSize(st.Dir); left != 0 {
		t.Errorf("%d bytes are left in the spool", left)
	}
	if got := d.ask("DELETE", soundPath(first), ""); got.Status != 200 || d.info(first).Status != "deleted" {
		t.Errorf("delete: %d %s", got.Status, got.Body)
	}
	if got := d.ask("GET", soundPath(first), ""); got.Status != 404 {
		t.Errorf("after its deletion: %d", got.Status)
	}
}
