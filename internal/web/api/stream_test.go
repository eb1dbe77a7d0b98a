package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// streamed is an open stream, as a client reads it.
type streamed struct {
	*harness
	response *http.Response
	lines    *bufio.Reader
}

// streamedEvent is one event of a stream.
type streamedEvent struct{ id, typ, data string }

// follow opens a stream of acme's events at a server.
func (h *harness) follow(server, query string, options ...option) *streamed {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", server+"/v1/tenants/acme/events/stream"+query, nil)
	if err != nil {
		h.Fatal(err)
	}
	req.SetBasicAuth(h.sid, h.token)
	for _, o := range options {
		o(req)
	}
	resp, err := h.server.Client().Do(req)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	return &streamed{h, resp, bufio.NewReader(resp.Body)}
}

// line is the next line; "" with an ended stream.
func (s *streamed) line() (string, bool) {
	l, err := s.lines.ReadString('\n')
	return strings.TrimSuffix(l, "\n"), err == nil
}

// next is the next event, whatever comments come before it.
func (s *streamed) next() (e streamedEvent, open bool) {
	for {
		l, open := s.line()
		name, value, _ := strings.Cut(l, ": ")
		switch {
		case !open:
			return e, false
		case name == "id":
			e.id = value
		case name == "event":
			e.typ = value
		case name == "data":
			e.data = value
		case l == "" && e.id != "":
			return e, true
		}
	}
}

// end waits until the server has ended the stream.
func (s *streamed) end() {
	s.Helper()
	for {
		if e, open := s.next(); !open {
			break
		} else if e.typ != "" {
			s.Errorf("%s came on a stream that was to end", e.typ)
		}
	}
	<-s.streams
}

// tell appends events of acme's to the outbox, n in one transaction.
func (h *harness) tell(n int, data string) {
	h.Helper()
	err := h.store.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		for range n {
			h.calls++
			e := masking.Event{ID: masking.EventID(fmt.Sprintf("evt_%d", h.calls)), Type: masking.EventUpdated, Tenant: "acme", At: h.clock(), Data: json.RawMessage(data)}
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
}

func TestAStreamGivesEventsAsTheyAreWrittenAndGoesOnBehindTheLastOne(t *testing.T) {
	h := newHarness(t)
	h.create(vn1, alice, bob) // before: no part of a stream that begins now
	s := h.follow(h.server.URL, "")
	if ct := s.response.Header.Get("Content-Type"); s.response.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("status %d, Content-Type %q", s.response.StatusCode, ct)
	}
	if l, _ := s.line(); l != "retry: 2000" {
		t.Errorf("it begins with %q", l)
	}
	id := h.create(vn2, carol, dave)
	first, _ := s.next()
	if first.typ != "greenvn.created" || !strings.Contains(first.data, id) {
		t.Fatalf("%+v", first)
	}
	h.own("DELETE", "/greenvn/"+id, "").want(200)
	second, _ := s.next()
	_ = s.response.Body.Close()
	<-h.streams
	h.tell(250, `{"n":1}`)

	for _, resumed := range []*streamed{h.follow(h.server.URL, "", header("Last-Event-ID", first.id)), h.follow(h.server.URL, "?cursor="+first.id),
		h.follow(h.server.URL, "?cursor=nonsense", header("Last-Event-ID", first.id))} {
		again, _ := resumed.next()
		if again != second {
			t.Errorf("resumed with %+v, want %+v", again, second)
		}
		seen := map[string]bool{}
		for range 250 {
			e, _ := resumed.next()
			seen[e.id] = true
		}
		if len(seen) != 250 {
			t.Errorf("%d events after it, want 250", len(seen))
		}
		_ = resumed.response.Body.Close()
		<-h.streams
	}

	// What a stream gives is an item of the list, and its id a cursor of the list.
	list := h.own("GET", "/events?limit=1&cursor="+first.id, "").want(200)
	items, _ := list.fields["items"].([]any)
	item, _ := json.Marshal(items[0])
	var data any
	if err := json.Unmarshal([]byte(second.data), &data); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(data); string(got) != string(item) || list.text("next_cursor") != second.id {
		t.Errorf("the stream gave %s at %s, the list %s at %s", got, second.id, item, list.text("next_cursor"))
	}
}

func TestAStreamIsRefusedWhereAListWouldBe(t *testing.T) {
	h := newHarness(t)
	sid, token := h.tenant("zeta")
	h.own("GET", "/events/stream", "", as(sid, token)).refused(404, "not_found", "")
	h.own("GET", "/events/stream", "", as(sid, "wrong")).refused(401, "unauthorized", "")
	h.own("GET", "/events/stream?cursor=nonsense", "").refused(400, "invalid_field", "cursor")
	h.own("GET", "/events/stream", "", header("Last-Event-ID", "nonsense")).refused(400, "invalid_field", "Last-Event-ID")
	h.drain(true)
	h.own("GET", "/events/stream", "").refused(503, "temporarily_unavailable", "")
	for range 5 {
		<-h.streams
	}
}

func TestAStreamTellsThatItIsThereBeyondTheTimesOfTheServer(t *testing.T) {
	h := newHarness(t)
	hasty := httptest.NewUnstartedServer(h.handler)
	hasty.Config.ReadTimeout, hasty.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	hasty.Start()
	defer hasty.Close()
	s := h.follow(hasty.URL, "")
	for comments := 0; comments < 3; {
		l, open := s.line()
		if !open {
			t.Fatal("the stream was cut")
		}
		if l == ": still here" {
			comments++
		}
	}
	h.create(vn1, alice, bob)
	if e, _ := s.next(); e.typ != "greenvn.created" {
		t.Errorf("%+v", e)
	}
	_ = s.response.Body.Close()
	<-h.streams
}

func TestATenantHasNoMoreStreamsThanItsBound(t *testing.T) {
	h := newHarness(t)
	var open []*streamed
	for range 20 {
		open = append(open, h.follow(h.server.URL, ""))
	}
	if a := h.own("GET", "/events/stream", "").refused(429, "rate_limited", ""); a.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	<-h.streams
	_ = open[0].response.Body.Close()
	<-h.streams
	again := h.follow(h.server.URL, "")
	if again.response.StatusCode != 200 {
		t.Errorf("a stream that was closed leaves no place: %d", again.response.StatusCode)
	}
	h.create(vn1, alice, bob)
	for _, s := range append(open[1:], again) {
		if e, _ := s.next(); e.typ != "greenvn.created" {
			t.Errorf("%+v", e)
		}
		_ = s.response.Body.Close()
		<-h.streams
	}
}

func TestAStreamEndsWithItsTokenBeforeAnythingMoreIsTold(t *testing.T) {
	h := newHarness(t)
	s := h.follow(h.server.URL, "")
	tokens := h.admin("GET", "/v1/admin/tenants/acme/tokens", "").want(200)
	items, _ := tokens.fields["items"].([]any)
	first, _ := items[0].(map[string]any)
	h.admin("DELETE", fmt.Sprintf("/v1/admin/tenants/acme/tokens/%s", first["token_id"]), "").want(200)
	h.pass(2 * time.Second)
	h.tell(1, `{}`)
	s.end()
}

func TestStreamsEndWhenTheServerTakesLeave(t *testing.T) {
	h := newHarness(t)
	s := h.follow(h.server.URL, "")
	close(h.leaving)
	s.end()
}

func TestAClientThatDoesNotReadIsDropped(t *testing.T) {
	h := newHarness(t)
	s := h.follow(h.server.URL, "")
	large := `{"text":"` + strings.Repeat("x", 1<<18) + `"}`
	h.tell(80, large) // more than any socket takes
	<-h.streams       // it has ended, though nobody has closed it
	for {
		if _, open := s.next(); !open {
			break
		}
	}
}
