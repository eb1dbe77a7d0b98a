package sipua

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"

	"tandem/internal/e164"
	"tandem/internal/ladder"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

const secret = "+919900000042"

// hostile is a request in which every place that a header policy could copy by
// mistake holds the secret number.
func hostile(t *rapid.T, method sip.RequestMethod) *sip.Request {
	uri := sip.Uri{Scheme: "sip", User: "+914000000001", Host: "h"}
	req := sip.NewRequest(method, uri)
	req.AppendHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "h", Port: 5060, Params: sip.HeaderParams{{K: "branch", V: "z9hG4bKx"}}})
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "x", Host: "h"}, Params: tagParam("f")})
	req.AppendHeader(&sip.ToHeader{Address: uri})
	id := sip.CallIDHeader("id")
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: method})
	req.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: secret, Host: "h"}})
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion",
		"History-Info", "Referred-By", "P-Called-Party-ID", "Identity", "Call-Info", "Alert-Info", "Subject", "Organization", "User-Agent",
		"Server", "Warning", "Reason", "Geolocation", "P-Access-Network-Info", "P-Charging-Vector", "User-to-User", "Session-ID",
		"X-Number", "Supported", "Require", "RSeq", "RAck", "Session-Expires", "Min-SE", "Allow", "Accept", "Date", "Timestamp", "MIME-Version", "Content-Disposition"}), 1, 30).Draw(t, "headers")
	for _, n := range names {
		req.AppendHeader(sip.NewHeader(n, "<sip:"+secret+"@h>"))
	}
	return req
}

func TestNoResponseRepeatsAHeaderThatThePolicyDoesNotName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		method := rapid.SampledFrom([]sip.RequestMethod{sip.INVITE, sip.BYE, sip.OPTIONS, sip.UPDATE, sip.INFO, sip.REFER, sip.PRACK}).Draw(t, "method")
		status := rapid.SampledFrom([]int{100, 180, 200, 403, 404, 405, 415, 420, 433, 480, 481, 486, 487, 488, 500, 503, 603}).Draw(t, "status")
		res := response(hostile(t, method), status, "tag", contactAt(netip.MustParseAddrPort("192.0.2.1:5060"), "udp"), nil)
		if strings.Contains(res.String(), secret[3:]) {
			t.Fatalf("the response repeats it:\n%s", res)
		}
	})
}

func TestAnOutgoingInviteShowsTheVirtualNumberAndNobodyElse(t *testing.T) {
	for _, f := range []masking.NumberFormat{masking.FormatE164, masking.FormatPlain, masking.FormatNational} {
		trunk := india
		trunk.NumberFormat = f
		req := outgoingInvite{trunk: trunk, place: place{network: "udp", of: masking.Target{Host: "192.0.2.9", Port: 5080}, addr: netip.MustParseAddrPort("192.0.2.9:5080")}, to: e164.MustParse("+918800000001"),
			callerID: e164.MustParse("+914000000001"), callID: "c", tag: "t", contact: contactAt(netip.MustParseAddrPort("192.0.2.1:5060"), "tcp"), hops: 30}.build()
		names := map[string]bool{}
		for _, h := range req.Headers() {
			names[h.Name()] = true
		}
		for n := range names {
			switch n {
			case "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Allow", "Supported", "Session-Expires", "Min-SE", "Content-Type", "Content-Length":
			default:
				t.Errorf("%s: header %s is not in the policy", f, n)
			}
		}
		if got := numberOf(req.From().Address, trunk); got.E164() != "+914000000001" || req.From().DisplayName != "" {
			t.Errorf("%s: caller ID %q", f, req.From().Address.User)
		}
		if req.Contact().Address.User != "" {
			t.Errorf("%s: the Contact names somebody", f)
		}
	}
}

func TestRequestsInADialogFollowLooseAndStrictRoutes(t *testing.T) {
	uri := func(s string) (u sip.Uri) {
		if err := sip.ParseUri(s, &u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	d := dialog{callID: "c", localTag: "l", remoteTag: "r", local: uri("sip:a@h"), remote: uri("sip:b@h"), target: uri("sip:peer@192.0.2.7")}
	d.routes = []sip.Uri{uri("sip:192.0.2.8;lr"), uri("sip:192.0.2.9;lr")}
	if req := d.within(sip.BYE, 3); req.Recipient.Host != "192.0.2.7" || len(req.GetHeaders("Route")) != 2 {
		t.Errorf("loose:\n%s", req)
	}
	d.routes = []sip.Uri{uri("sip:192.0.2.8"), uri("sip:192.0.2.9;lr")}
	req := d.within(sip.BYE, 3)
	routes := req.GetHeaders("Route")
	if req.Recipient.Host != "192.0.2.8" || len(routes) != 2 || !strings.Contains(routes[1].Value(), "peer@192.0.2.7") {
		t.Errorf("strict (RFC 3261 §12.2.1.1):\n%s", req)
	}
}

func TestTheTripwireSeesWhatWeWroteAndNotWhatThePeerDid(t *testing.T) {
	f := e164.NewFinder(e164.MustParse(secret))
	head := "From: <sip:x@h>;tag=1\r\nTo: <sip:y@h>%s\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
	for name, c := range map[string]struct {
		raw  string
		want bool
	}{
		"in our INVITE":             {"INVITE sip:y@h SIP/2.0\r\n" + strings.Replace(head, "%s", "", 1) + "X: " + secret + "\r\n\r\n", true},
		"as our caller ID":          {"INVITE sip:y@h SIP/2.0\r\nFrom: <sip:" + secret + "@h>\r\nTo: <sip:y@h>\r\n\r\n", true},
		"in a body":                 {"SIP/2.0 200 OK\r\n" + strings.Replace(head, "%s", ";tag=2", 1) + "\r\ns=" + secret, true},
		"in a header of a response": {"SIP/2.0 200 OK\r\nContact: <sip:" + secret + "@h>\r\n\r\n", true},
		"in From of a response":     {"SIP/2.0 200 OK\r\nFrom: <sip:" + secret + "@h>;tag=1\r\nTo: <sip:y@h>;tag=2\r\n\r\n", false},
		"as target of our BYE":      {"BYE sip:" + secret + "@h SIP/2.0\r\nFrom: <sip:x@h>;tag=2\r\nTo: <sip:y@h>;tag=1\r\n\r\n", false},
		"in a Reason of our BYE":    {"BYE sip:y@h SIP/2.0\r\nFrom: <sip:x@h>;tag=2\r\nTo: <sip:y@h>;tag=1\r\nReason: " + secret + "\r\n\r\n", true},
		"nowhere":                   {"INVITE sip:y@h SIP/2.0\r\n" + strings.Replace(head, "%s", "", 1) + "\r\nv=0", false},
	} {
		if got := leaks(f, []byte(c.raw)); got != c.want {
			t.Errorf("%s: found %v", name, got)
		}
	}
}

func TestEveryReasonHasOneStatusAndStrangersHearOne(t *testing.T) {
	rejected := func(r masking.Refusal) b2bua.Reason {
		return b2bua.Reason{Cause: masking.CauseRejected, Refusal: r}
	}
	for r, want := range map[b2bua.Reason]int{
		rejected(masking.RefusedUnknownNumber):  404,
		rejected(masking.RefusedWithheld):       433,
		rejected(masking.RefusedStranger):       403,
		rejected(masking.RefusedExpired):        403,
		rejected(masking.RefusedWrongDirection): 403,
		rejected(masking.RefusedLoop):           482,
		rejected(masking.RefusedCallerBusy):     486,
		rejected(masking.RefusedCallerRate):     480, rejected(masking.RefusedAllocationLimit): 480, rejected(masking.RefusedTenantLimit): 480,
		rejected(masking.RefusedUnavailable):  503,
		{Cause: masking.CauseBusy}:            486,
		{Cause: masking.CauseNoAnswer}:        480,
		{Cause: masking.CauseDeclined}:        603,
		{Cause: masking.CauseUnreachable}:     480,
		{Cause: masking.CauseFailed}:          480,
		{Cause: masking.CauseNoMedia}:         488,
		{Cause: masking.CauseCallerCancelled}: 487,
		{Cause: masking.CauseAllocationEnded}: 480,
		{Cause: masking.CauseLeakBlocked}:     480,
		{Cause: masking.CauseShutdown}:        503,
	} {
		if got := statusFor(r); got != want || ladder.Phrase(got) == "" {
			t.Errorf("%+v: %d %s, want %d", r, got, ladder.Phrase(got), want)
		}
	}
}

func TestAnotherTrunkIsTriedOnlyForFaultsOfTheNetwork(t *testing.T) {
	for status, want := range map[int]bool{408: true, 500: true, 502: true, 503: true, 504: true, 580: true,
		501: false, 505: false, 486: false, 480: false, 404: false, 603: false, 302: false, 401: false, 488: false} {
		if _, retry := causeOf(status, false); retry != want {
			t.Errorf("%d: retry %v", status, retry)
		}
	}
}

func TestSecondsAreReadWhateverFollowsThem(t *testing.T) {
	for text, want := range map[string]int{"90": 90, " 90 ;refresher=uac": 90, "120 (back soon)": 120, "0": 0, "": 0, "soon": 0, "-5": 0,
		"4294967295": 1<<31 - 1, "99999999999999999999": 0} {
		if got := seconds(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
