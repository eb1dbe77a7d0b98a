package api

import (
	"math"
	"time"

	"tandem/internal/ladder"
	"tandem/internal/masking"
)

// CallLadder is what Tandem saw of a call's SIP messages. It holds no number in full,
// no address and no text of a peer.
type CallLadder struct {
	Legs     []LadderLeg     `json:"legs" doc:"the caller's first, then each attempt to ring somebody, in their order"`
	Messages []LadderMessage `json:"messages" doc:"in order of time; the first 200"`
	LeftOut  int64           `json:"left_out,omitempty" doc:"how many further messages there were"`
}

// LadderLeg is one dialog, made or being made.
type LadderLeg struct {
	Leg       string `json:"leg" doc:"a is the caller's; b1 the first attempt, b2 the second …" example:"b1"`
	Trunk     string `json:"trunk"`
	Transport string `json:"transport" enum:"udp,tcp,tls,other"`
}

// LadderMessage is one SIP message.
type LadderMessage struct {
	Offset    float64  `json:"offset_ms" doc:"milliseconds since the first message, by a clock that never jumps"`
	Leg       string   `json:"leg"`
	Direction string   `json:"direction" enum:"in,out" doc:"in: received by Tandem"`
	Again     bool     `json:"again,omitempty" doc:"a retransmission"`
	Message   string   `json:"message" doc:"the method, or status and phrase of the RFC" example:"180 Ringing"`
	Method    string   `json:"method" doc:"of a response the one it answers"`
	Status    int64    `json:"status,omitempty" doc:"of a response"`
	CSeq      int64    `json:"cseq"`
	Number    string   `json:"number,omitempty" doc:"whom an INVITE asks for, hidden: how the number is written and its last two digits"`
	Digit     bool     `json:"digit,omitempty" doc:"tells of a key that was pressed; which one is not kept"`
	Fields    []string `json:"fields,omitempty" doc:"what else the header said: reason, timers, what was required"`
	SDP       string   `json:"sdp,omitempty" doc:"codecs and direction of the first audio stream" example:"PCMA telephone-event sendrecv"`
}

// callLadder reads what was kept of a call; nil if nothing was.
func callLadder(kept []byte) *CallLadder {
	l, err := ladder.Read(kept)
	if err != nil || len(l.Messages) == 0 {
		return nil // of a later release, perhaps: the record is worth showing without
	}
	v := &CallLadder{LeftOut: int64(l.LeftOut)}
	for _, leg := range l.Legs {
		v.Legs = append(v.Legs, LadderLeg{Leg: leg.Name, Trunk: leg.Trunk, Transport: leg.Transport})
	}
	for _, m := range l.Messages {
		to := LadderMessage{Offset: math.Round(float64(m.After)/float64(time.Microsecond)) / 1000, Leg: l.Legs[m.Leg].Name,
			Direction: "in", Again: m.Again, Message: m.Title(), Method: m.Method, Status: int64(m.Status), CSeq: int64(m.Seq),
			Number: m.Number, Digit: m.Digit}
		if m.Out {
			to.Direction = "out"
		}
		for _, f := range m.Fields {
			to.Fields = append(to.Fields, f.String())
		}
		if m.Described {
			to.SDP = m.Media.String()
		}
		v.Messages = append(v.Messages, to)
	}
	return v
}

// hide takes out of a record what is the tenant's business and not the operator's.
func (v CallRecord) hide(c masking.Call) CallRecord {
	v.TenantID, v.Node, v.CustomField, v.RecordingURL = c.Tenant, c.Node, "", ""
	v.From, v.To = c.Caller.Hidden(), c.Callee.Hidden()
	for i := range v.Legs {
		v.Legs[i].To = c.Attempts[i].Target.Hidden()
	}
	return v
}
