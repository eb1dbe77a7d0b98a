package api_test

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
)

// sides gives the PINs of an answer.
func (a *answer) sides() (from, to string) {
	p, _ := a.fields["pins"].(map[string]any)
	from, _ = p["from"].(string)
	to, _ = p["to"].(string)
	return from, to
}

func TestWithTheFallbackBothSidesGetAPIN(t *testing.T) {
	h := newHarness(t)
	h.own("PUT", "/settings", `{"pin_fallback":true}`).want(200)
	for name, number := range map[string]string{"named": shared1, "chosen": "auto"} {
		made := h.own("POST", "/greenvn", body(number, alice, bob)).want(201)
		from, to := made.sides()
		p, ok := masking.ParsePIN(from)
		q, ok2 := masking.ParsePIN(to)
		if !ok || !ok2 || from == to || p.Trivial() || q.Trivial() {
			t.Errorf("%s: PINs %q and %q", name, from, to)
		}
		id := made.text("greenvn_id")
		got := h.own("GET", "/greenvn/"+id, "").want(200)
		if f, u := got.sides(); f != from || u != to {
			t.Errorf("%s: get shows %q and %q, create gave %q and %q", name, f, u, from, to)
		}
		for _, a := range []*answer{h.own("GET", "/greenvn", ""), h.own("PATCH", "/greenvn/"+id, `{"record":true}`), h.own("DELETE", "/greenvn/"+id, "")} {
			if strings.Contains(a.want(200).body, "pins") {
				t.Errorf("%s shows PINs: %s", a.request, a.body)
			}
		}
	}
	one := h.own("POST", "/greenvn", `{"caller_id_number":"`+shared1+`","from":["`+alice+`"],"to":["`+bob+`"],"usage":"oneway"}`).want(201)
	if from, to := one.sides(); from == "" || to != "" || strings.Contains(one.body, `"to":""`) {
		t.Errorf("of a oneway allocation: %s", one.body)
	}
	h.own("PUT", "/settings", `{"pin_fallback":false}`).want(200)
	if a := h.own("POST", "/greenvn", body(shared1, carol, dave)).want(201); strings.Contains(a.body, "pins") {
		t.Errorf("without the fallback: %s", a.body)
	}
}

func TestASideThatLosesSomebodyGetsAnotherPIN(t *testing.T) {
	h := newHarness(t)
	h.own("PUT", "/settings", `{"pin_fallback":true}`).want(200)
	made := h.own("POST", "/greenvn", body(shared1, alice, bob)).want(201)
	path := "/greenvn/" + made.text("greenvn_id")
	from, to := made.sides()
	for _, c := range []struct {
		change         string
		newFrom, newTo bool
	}{
		{`{"from":["` + alice + `","` + dave + `"]}`, false, false}, // one more: nobody is gone
		{`{"from":["` + dave + `"]}`, true, false},
		{`{"to":["` + carol + `"]}`, false, true},
		{`{"from":["` + alice + `"],"to":["` + bob + `"]}`, true, true},
		{`{"from":["` + alice + `"],"to":["` + bob + `"]}`, false, false},
	} {
		f, u := h.own("PUT", path+"/call-party", c.change).want(200).sides()
		if (f != from) != c.newFrom || (u != to) != c.newTo || f == "" || u == "" || f == u {
			t.Errorf("%s: the PINs became new: %v, %v", c.change, f != from, u != to)
		}
		if gf, gu := h.own("GET", path, "").want(200).sides(); gf != f || gu != u {
			t.Errorf("%s: get shows other PINs than the answer", c.change)
		}
		from, to = f, u
	}
}

func TestAMoveKeepsPINsThatAreFreeAndDrawsOthersAnew(t *testing.T) {
	h := newHarness(t)
	h.own("PUT", "/settings", `{"pin_fallback":true}`).want(200)
	made := h.own("POST", "/greenvn", body(shared1, alice, bob)).want(201)
	id := made.text("greenvn_id")
	from, to := made.sides()
	move := func(number string) (string, string) {
		t.Helper()
		moved := h.own("PUT", "/greenvn/"+id+"/vn", `{"caller_id_number":"`+number+`"}`).want(200)
		f, u := moved.sides()
		if gf, gu := h.own("GET", "/greenvn/"+id, "").sides(); gf != f || gu != u || f == "" || u == "" || f == u {
			t.Errorf("the move to %s answers PINs %q and %q, get %q and %q", number, f, u, gf, gu)
		}
		return f, u
	}
	for _, number := range []string{shared2, vn1, vn1} {
		if f, u := move(number); f != from || u != to {
			t.Errorf("moved to %s: PINs %q and %q, before %q and %q", number, f, u, from, to)
		}
	}
	// Somebody else has one of the PINs on the number to come.
	other := h.own("POST", "/greenvn", body(shared1, carol, dave)).want(201)
	h.take(masking.AllocationID(other.text("greenvn_id")), masking.PIN(from))
	f, u := move(shared1)
	if f == from || u != to {
		t.Errorf("moved to where %q is taken: PINs %q and %q, before %q and %q", from, f, u, from, to)
	}
	// An allocation of before the fallback gets no PINs by moving.
	h.own("PUT", "/settings", `{"pin_fallback":false}`).want(200)
	plain := h.create(shared1, party(1), party(2))
	h.own("PUT", "/settings", `{"pin_fallback":true}`).want(200)
	if a := h.own("PUT", "/greenvn/"+plain+"/vn", `{"caller_id_number":"`+shared2+`"}`).want(200); strings.Contains(a.body, "pins") {
		t.Errorf("moved: %s", a.body)
	}
	// One with PINs keeps them when the tenant turns the fallback off.
	h.own("PUT", "/settings", `{"pin_fallback":false}`).want(200)
	if gf, gu := move(shared2); gf != f || gu != u {
		t.Errorf("after the fallback was turned off: PINs %q and %q, before %q and %q", gf, gu, f, u)
	}
}

func TestASettingHoldsForTheNextRequest(t *testing.T) {
	h := newHarness(t)
	for _, length := range []string{"6", "8", "4"} {
		h.own("PUT", "/settings", `{"pin_length":`+length+`}`).want(200)
		if _, pin := h.pin(vn1, alice, bob); string('0'+byte(len(pin))) != length {
			t.Errorf("a PIN of %d digits, want %s", len(pin), length)
		}
		h.admin("PUT", "/v1/admin/tenants/acme", `{"max_duration":60}`).want(200)
		h.own("POST", "/greenpin", body(vn1, alice, bob)).refused(400, "duration_too_long", "duration")
		h.admin("PUT", "/v1/admin/tenants/acme", `{"max_duration":14688000}`).want(200)
		h.pass(time.Millisecond)
	}
}
