package api_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// together sends n requests at once and counts the statuses.
func (h *harness) together(n int, send func(i int) (*answer, error)) map[int]int {
	h.Helper()
	answers := h.gather(n, send)
	counts := map[int]int{}
	for _, a := range answers {
		counts[a.status]++
	}
	return counts
}

func (h *harness) gather(n int, send func(i int) (*answer, error)) []*answer {
	h.Helper()
	answers, errs := make([]*answer, n), make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			answers[i], errs[i] = send(i)
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			h.Fatal(err)
		}
	}
	return answers
}

const crowd = 200

func party(i int) string { return fmt.Sprintf("+9181000%05d", i) }

func TestOfTwoHundredCreatesForOneExclusiveNumberOneWins(t *testing.T) {
	h := newHarness(t)
	counts := h.together(crowd, func(i int) (*answer, error) {
		return h.try("POST", "/v1/tenants/acme/greenvn", body(vn1, party(2*i), party(2*i+1)), as(h.sid, h.token))
	})
	if counts[201] != 1 || counts[409] != crowd-1 {
		t.Errorf("statuses %v, want one 201 and the rest 409", counts)
	}
}

func TestOfTwoHundredMovesToOneExclusiveNumberOneWins(t *testing.T) {
	h := newHarness(t)
	ids := make([]string, crowd)
	for i := range ids {
		ids[i] = h.create(shared1, party(2*i), party(2*i+1))
	}
	counts := h.together(crowd, func(i int) (*answer, error) {
		return h.try("PUT", "/v1/tenants/acme/greenvn/"+ids[i]+"/vn", `{"caller_id_number":"`+vn1+`"}`, as(h.sid, h.token))
	})
	if counts[200] != 1 || counts[409] != crowd-1 {
		t.Errorf("statuses %v, want one 200 and the rest 409", counts)
	}
}

func TestOfTwoHundredUpdatesToOnePartyOneWins(t *testing.T) {
	h := newHarness(t)
	ids := make([]string, crowd)
	for i := range ids {
		ids[i] = h.create(shared1, party(2*i), party(2*i+1))
	}
	counts := h.together(crowd, func(i int) (*answer, error) {
		return h.try("PUT", "/v1/tenants/acme/greenvn/"+ids[i]+"/call-party", `{"to":["`+carol+`"]}`, as(h.sid, h.token))
	})
	if counts[200] != 1 || counts[409] != crowd-1 {
		t.Errorf("statuses %v, want one 200 and the rest 409", counts)
	}
	moved := 0
	for i, id := range ids {
		a := h.own("GET", "/greenvn/"+id, "").want(200)
		switch {
		case strings.Contains(a.body, carol):
			moved++
		case !strings.Contains(a.body, party(2*i+1)):
			t.Errorf("a refused update left %s", a.body)
		}
	}
	if moved != 1 {
		t.Errorf("%d allocations have the party", moved)
	}
}

func TestAutomaticChoicesAtOnceNeverCollide(t *testing.T) {
	h := newHarness(t)
	var more []string
	for i := range 60 {
		more = append(more, fmt.Sprintf("+914100000%03d", i), "exclusive")
	}
	h.tenant("pool")
	h.numbers("acme", more...)
	// All share one party, so a shared number carries one of them only.
	answers := h.gather(80, func(i int) (*answer, error) {
		return h.try("POST", "/v1/tenants/acme/greenvn", body("auto", alice, party(i)), as(h.sid, h.token))
	})
	seen, made, none := map[string]bool{}, 0, 0
	for _, a := range answers {
		switch {
		case a.status == 201:
			made++
			if n := a.text("virtual_number"); seen[n] {
				t.Errorf("%s was lent twice", n)
			} else {
				seen[n] = true
			}
		case a.status == 409 && a.text("code") == "no_number_available":
			none++
		default:
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if made != 64 || none != 16 {
		t.Errorf("%d made and %d refused; 64 numbers were there for 80", made, none)
	}
}
