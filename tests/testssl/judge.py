"""Judges what testssl.sh has found: judge.py FOUND.json"""

import json
import sys

GOOD = ("OK", "INFO", "LOW")

# About the authority of this test, which is no public one: there is nobody to ask, and no log to be in.
OF_THE_AUTHORITY = (
    "cert_revocation",
    "cert_crlDistributionPoints",
    "cert_ocspURL",
    "OCSP_stapling",
    "cert_mustStapleExtension",
    "DNS_CAArecord",
    "certificate_transparency",
    "cert_ext_keyUsage",
    # About the site, not about TLS.
    "security_headers",
)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        found = json.load(file)
    about = {one["id"]: one for one in found}
    bad = [
        one
        for one in found
        if one["severity"] not in GOOD and not one["id"].startswith(OF_THE_AUTHORITY)
    ]
    # What it has not come to see is no finding; the rest is told.
    unseen = [one for one in bad if one["severity"] == "WARN" and "check failed" in one["finding"]]
    for one in unseen:
        print(f"not seen by testssl.sh: {one['id']}: {one['finding']}")
    bad = [one for one in bad if one not in unseen]
    for one in bad:
        print(f"{one['severity']}: {one['id']}: {one['finding']}")
    # Versions before 3.2 give no grade: there the findings alone decide.
    grade = about.get("overall_grade", {}).get("finding")
    trusted = [one for one in found if one["id"].startswith("cert_chain_of_trust")]
    if not trusted or any("passed" not in one["finding"] for one in trusted):
        bad.append(None)
        print(f"the chain is not trusted: {[one['finding'] for one in trusted]}")
    if grade and not grade.startswith("A"):
        bad.append(None)
        print(f"the grade is {grade}")
    for key in ("TLS1_2", "TLS1_3", "cipherlist_STRONG", "cipherlist_STRONG_FS"):
        if key in about:
            print(f"{key}: {about[key]['finding']}")
    print(f"{len(found)} findings, {len(bad)} of them bad, grade {grade or 'not given by this version'}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
