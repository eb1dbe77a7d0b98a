package siptx

import "testing"

// A row is one arrow of a figure. Whatever is not a row must change nothing and do
// nothing (but refuse the TU's response, on the server side).
type row struct {
	from state
	on   event
	to   state
	do   effect
}

func checkMachine(t *testing.T, m machine, server bool, states []state, rows []row) {
	t.Helper()
	for _, from := range states {
		for on := eventProvisional; on <= eventTransport; on++ {
			want := row{from, on, from, 0}
			if server && on <= eventFailure {
				want.do = doRefuse
			}
			for _, r := range rows {
				if r.from == from && r.on == on {
					want = r
				}
			}
			to, do := m(from, on)
			if to != want.to || do != want.do {
				t.Errorf("%v on %v: to %v doing %b, want %v doing %b", from, on, to, do, want.to, want.do)
			}
		}
	}
}

func TestInviteClientFollowsFigure5AndRFC6026(t *testing.T) {
	checkMachine(t, inviteClient, false,
		[]state{stateCalling, stateProceeding, stateCompleted, stateAccepted, stateTerminated}, []row{
			{stateCalling, eventProvisional, stateProceeding, doPass | doQuiet},
			{stateCalling, eventSuccess, stateAccepted, doPass | doQuiet | doLinger},
			{stateCalling, eventFailure, stateCompleted, doPass | doAck | doQuiet | doLinger},
			{stateCalling, eventRepeat, stateCalling, doSendAgain},
			{stateCalling, eventEnd, stateTerminated, doTimeout},
			{stateCalling, eventTransport, stateTerminated, doFail},
			{stateProceeding, eventProvisional, stateProceeding, doPass},
			{stateProceeding, eventSuccess, stateAccepted, doPass | doQuiet | doLinger},
			{stateProceeding, eventFailure, stateCompleted, doPass | doAck | doQuiet | doLinger},
			{stateProceeding, eventEnd, stateTerminated, doTimeout},
			{stateProceeding, eventTransport, stateTerminated, doFail},
			{stateCompleted, eventFailure, stateCompleted, doAck},
			{stateCompleted, eventSuccess, stateCompleted, doStray},
			{stateCompleted, eventEnd, stateTerminated, 0},
			{stateCompleted, eventTransport, stateTerminated, 0},
			{stateAccepted, eventSuccess, stateAccepted, doPass},
			{stateAccepted, eventEnd, stateTerminated, 0},
		})
}

func TestOtherClientFollowsFigure6(t *testing.T) {
	checkMachine(t, otherClient, false,
		[]state{stateTrying, stateProceeding, stateCompleted, stateTerminated}, []row{
			{stateTrying, eventProvisional, stateProceeding, doPass},
			{stateTrying, eventSuccess, stateCompleted, doPass | doQuiet | doLinger},
			{stateTrying, eventFailure, stateCompleted, doPass | doQuiet | doLinger},
			{stateTrying, eventRepeat, stateTrying, doSendAgain},
			{stateTrying, eventEnd, stateTerminated, doTimeout},
			{stateTrying, eventTransport, stateTerminated, doFail},
			{stateProceeding, eventProvisional, stateProceeding, doPass},
			{stateProceeding, eventSuccess, stateCompleted, doPass | doQuiet | doLinger},
			{stateProceeding, eventFailure, stateCompleted, doPass | doQuiet | doLinger},
			{stateProceeding, eventRepeat, stateProceeding, doSendAgain},
			{stateProceeding, eventEnd, stateTerminated, doTimeout},
			{stateProceeding, eventTransport, stateTerminated, doFail},
			{stateCompleted, eventEnd, stateTerminated, 0},
		})
}

func TestInviteServerFollowsFigure7AndRFC6026(t *testing.T) {
	checkMachine(t, inviteServer, true,
		[]state{stateProceeding, stateCompleted, stateConfirmed, stateAccepted, stateTerminated}, []row{
			{stateProceeding, eventRequest, stateProceeding, doSendAgain},
			{stateProceeding, eventProvisional, stateProceeding, doSend},
			{stateProceeding, eventRepeat, stateProceeding, doTrying},
			{stateProceeding, eventSuccess, stateAccepted, doSend | doQuiet | doLinger},
			{stateProceeding, eventFailure, stateCompleted, doSend | doQuiet | doRepeat | doLinger},
			{stateProceeding, eventTransport, stateTerminated, doFail},
			{stateCompleted, eventRequest, stateCompleted, doSendAgain},
			{stateCompleted, eventRepeat, stateCompleted, doSendAgain},
			{stateCompleted, eventAck, stateConfirmed, doQuiet | doLinger},
			{stateCompleted, eventEnd, stateTerminated, doTimeout},
			{stateCompleted, eventTransport, stateTerminated, doFail},
			{stateConfirmed, eventEnd, stateTerminated, 0},
			{stateAccepted, eventSuccess, stateAccepted, doSend},
			{stateAccepted, eventAck, stateAccepted, doPass},
			{stateAccepted, eventEnd, stateTerminated, 0},
		})
}

func TestOtherServerFollowsFigure8(t *testing.T) {
	checkMachine(t, otherServer, true,
		[]state{stateTrying, stateProceeding, stateCompleted, stateTerminated}, []row{
			{stateTrying, eventProvisional, stateProceeding, doSend},
			{stateTrying, eventSuccess, stateCompleted, doSend | doQuiet | doLinger},
			{stateTrying, eventFailure, stateCompleted, doSend | doQuiet | doLinger},
			{stateTrying, eventEnd, stateTerminated, doTimeout},
			{stateTrying, eventTransport, stateTerminated, doFail},
			{stateProceeding, eventRequest, stateProceeding, doSendAgain},
			{stateProceeding, eventProvisional, stateProceeding, doSend},
			{stateProceeding, eventSuccess, stateCompleted, doSend | doQuiet | doLinger},
			{stateProceeding, eventFailure, stateCompleted, doSend | doQuiet | doLinger},
			{stateProceeding, eventEnd, stateTerminated, doTimeout},
			{stateProceeding, eventTransport, stateTerminated, doFail},
			{stateCompleted, eventRequest, stateCompleted, doSendAgain},
			{stateCompleted, eventEnd, stateTerminated, 0},
			{stateCompleted, eventTransport, stateTerminated, doFail},
		})
}
