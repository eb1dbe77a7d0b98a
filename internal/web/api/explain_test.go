package api_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/web/api"
)

func rings(to ...string) masking.Explanation {
	p := masking.Plan{Allocation: masking.Allocation{ID: "gvn_1"}, Direction: masking.FromCalls, RingEach: 20 * time.Second, RingTotal: time.Minute}
	p.Tenant.Settings.Ring = masking.Sequential
	for _, n := range to {
		p.Targets = append(p.Targets, e164.MustParse(n))
	}
	return masking.Explanation{Ruling: masking.Ruling{Plan: p}, Ways: []masking.WayOut{
		{Trunk: "out", Priority: 1, Weight: 3, State: masking.WayOpen, Tried: true}, {Trunk: "spare", Priority: 2, State: masking.WayDown, Tried: true},
		{Trunk: "shut", Priority: 3, State: masking.WayClosed}}}
}

func TestAnExplanationSaysWhomACallWouldRingInWhichOrderAndOverWhat(t *testing.T) {
	h := newHarness(t)
	h.routing.says = rings(bob, carol)
	a := h.own("POST", "/routes/explain", `{"caller":"`+alice+`","virtual_number":"`+vn1+`","pin":"4801"}`).want(200)
	const want = `{"response":{"outcome":"ring","rule":"allocation","explanation":"The caller stands in from of gvn_1, and to is rung. ` +
		bob + `, ` + carol + ` ring one after the other, 20 s each and 60 s in all. Tried over out, then spare (down).","greenvn_id":"gvn_1","direction":"from_to",` +
		`"targets":["` + bob + `","` + carol + `"],"ring_strategy":"sequential","ring_seconds":20,"ring_total_seconds":60,"trunks":[` +
		`{"trunk":"out","state":"open","tried":true,"priority":1,"weight":3},{"trunk":"spare","state":"down","tried":true,"priority":2,"weight":0},` +
		`{"trunk":"shut","state":"closed","tried":false,"priority":3,"weight":0}]}}` + "\n"
	if a.body != want {
		t.Errorf("got\n%s\nwant\n%s", a.body, want)
	}
	if h.routing.of != "acme" || h.routing.ask.Caller.E164() != alice || h.routing.ask.Called.E164() != vn1 || h.routing.pin.Reveal() != "4801" {
		t.Errorf("the voice plane was asked %+v", h.routing)
	}
	for _, secret := range []string{alice, bob, carol, "4801", alice[3:], bob[3:]} {
		if strings.Contains(h.logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestAnExplanationSaysWhyACallIsRefusedAndWhatTheCallerHears(t *testing.T) {
	h := newHarness(t)
	refused := func(why masking.Refusal, then masking.StrangerAction) masking.Explanation {
		return masking.Explanation{Ruling: masking.Ruling{Refusal: why, Then: then}, Reason: why}
	}
	wrongWay := refused(masking.RefusedStranger, masking.Announce)
	wrongWay.Reason, wrongWay.Blamed, wrongWay.Heard = masking.RefusedWrongDirection, "gvn_7", masking.Heard{Sound: "not_available", Status: 403}
	asked := refused(masking.RefusedStranger, masking.AskPIN)
	asked.PINAsked, asked.Heard = true, masking.Heard{Sound: "enter_pin"}
	opened := rings()
	opened.PINAsked, opened.PINJudged, opened.Ruling.Plan.Allocation.ID = true, true, "gp_1"
	unknown := refused(masking.RefusedUnknownNumber, masking.Reject)
	unknown.Heard.Status = 404
	for name, c := range map[string]struct {
		says masking.Explanation
		want string
	}{
		"wrong direction": {wrongWay, `"outcome":"refuse","rule":"strangers","reason":"wrong_direction","explanation":"The caller stands in to of a oneway allocation, ` +
			`and only from may call. That is gvn_7. The caller hears \"not_available\", then SIP status 403.","greenvn_id":"gvn_7","heard":{"announcement":"not_available","sip_status":403}`},
		"a PIN is asked for": {asked, `"outcome":"ask_pin","rule":"pin","reason":"stranger","explanation":"No active allocation names this caller on this number. ` +
			`He is answered and asked for a PIN, since the number carries PINs or the policy for strangers says so. The caller hears \"enter_pin\".","heard":{"announcement":"enter_pin"}`},
		"a PIN opens what names nobody": {opened, `"outcome":"ring","rule":"pin","explanation":"A PIN opens gp_1, and to is rung. Nobody is named there yet, so nobody is rung ` +
			`and the caller hears that the other side cannot be reached. Tried over out, then spare (down).","greenpin_id":"gp_1","direction":"from_to"`},
		"unknown": {unknown, `"outcome":"refuse","rule":"no_number","reason":"unknown_number","explanation":"The number is not in your pool. ` +
			`The caller gets SIP status 404 and no words.","heard":{"sip_status":404}`},
	} {
		h.routing.says = c.says
		if a := h.own("POST", "/routes/explain", `{"virtual_number":"`+vn1+`"}`).want(200); !strings.Contains(a.body, c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, a.body, c.want)
		}
	}
}

func TestAnExplanationThatCannotBeAskedForIsRefused(t *testing.T) {
	h := newHarness(t)
	h.own("POST", "/routes/explain", `{"caller":"`+alice+`"}`).refused(400, "missing_field", "virtual_number")
	h.own("POST", "/routes/explain", `{"caller":"12345","virtual_number":"`+vn1+`"}`).refused(400, "invalid_number", "caller")
	h.own("POST", "/routes/explain", `{"virtual_number":"12"}`).refused(400, "invalid_number", "virtual_number")
	a := h.own("POST", "/routes/explain", `{"virtual_number":"`+vn1+`","pin":"48-15"}`).refused(400, "invalid_field", "pin")
	if strings.Contains(a.body, "48-15") {
		t.Errorf("a PIN is repeated: %s", a.body)
	}
	h.routing.err = errors.New("the journal is behind")
	h.own("POST", "/routes/explain", `{"virtual_number":"`+vn1+`"}`).refused(503, "temporarily_unavailable", "")
}

func TestEveryReasonAndEveryCauseIsSaidInWords(t *testing.T) {
	for file, say := range map[string]func(string) string{
		"admit.go": func(s string) string { return api.RefusalWords(masking.Refusal(s)) },
		"call.go":  func(s string) string { return api.CauseWords(masking.Cause(s)) },
	} {
		source, err := os.ReadFile("../../masking/" + file)
		if err != nil {
			t.Fatal(err)
		}
		constants := regexp.MustCompile(`(?:Refused|Cause)\w+ +(?:Refusal|Cause) = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
		if len(constants) < 10 {
			t.Fatalf("%d constants in %s", len(constants), file)
		}
		for _, c := range constants {
			if words := say(c[1]); strings.Contains(words, c[1]) && strings.Contains(c[1], "_") || strings.HasPrefix(words, "reason ") || strings.HasPrefix(words, "cause ") {
				t.Errorf("%s: nothing is said of %s but %q", file, c[1], words)
			}
		}
	}
}
