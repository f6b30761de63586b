package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"imageport/job"
	"imageport/starter/httpapi"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// As the Credential Wallet API documents it.
	const body = `{"id":"admin","type":"UsernamePassword","username":"ips","domain":"test","password":"hunter2"}`
	status, header, answer := s.call(t, s.keeper, "POST", "/ips/credentials", body)
	added := decode[httpapi.Credential](t, http.StatusCreated, status, answer)
	if added.ID != "admin" || added.Username != "ips" || added.State != "Ok" || header.Get("Location") != "/ips/credentials/admin" {
		t.Errorf("%v %+v", header, added)
	}
	status, header, answer = s.call(t, s.keeper, "POST", "/credentials", body)
	isProblem(t, "again", status, header, answer, http.StatusConflict, job.BadRequest)
	for _, bad := range []string{`{`, `{}`, `[]`, `"id"`} {
		status, header, answer = s.call(t, s.keeper, "POST", "/credentials", bad)
		isProblem(t, bad, status, header, answer, http.StatusBadRequest, job.BadRequest)
	}
	status, _, answer = s.call(t, s.keeper, "PUT", "/credentials/admin", strings.Replace(body, `"ips"`, `"other"`, 1))
	if c := decode[httpapi.Credential](t, http.StatusOK, status, answer); c.Username != "other" {
		t.Errorf("%+v", c)
	}
	for query, want := range map[string]int{"": 1, "?type=usernamepassword": 1, "?type=Azure": 0} {
		status, _, answer = s.call(t, s.keeper, "GET", "/credentials"+query, nil)
		if list := decode[httpapi.CredentialList](t, http.StatusOK, status, answer); len(list.Items) != want {
			t.Errorf("%q: %+v", query, list)
		}
	}
	if status, _, answer = s.call(t, s.keeper, "DELETE", "/credentials/admin", nil); status != http.StatusNoContent || len(answer) != 0 {
		t.Errorf("%d %s", status, answer)
	}
	status, header, answer = s.call(t, s.keeper, "DELETE", "/credentials/admin", nil)
	isProblem(t, "removed twice", status, header, answer, http.StatusNotFound, job.UnknownCredential)
	if strings.Contains(s.log.String(), "hunter2") {
		t.Error("the log has a secret")
	}
	without := newSite(t, func(c *httpapi.Config) { c.Credentials = nil })
	status, header, answer = without.call(t, without.admin, "GET", "/credentials", nil)
	isProblem(t, "no wallet", status, header, answer, http.StatusNotFound, job.NoSuchRoute)
}
