# The recipes of docs/analysts.md for a shell. Each piece below a line of dashes stands there word for word.
# ---- curl
curl --fail --silent --show-error --cacert "$HUB_CA" --header "Authorization: Bearer $HUB_TOKEN" \
  --remote-name "https://$HUB_ADDRESS/releases/latest/members.parquet"
# ---- list
curl --fail --silent --show-error --cacert "$HUB_CA" --header "Authorization: Bearer $HUB_TOKEN" \
  "https://$HUB_ADDRESS/releases"
# ---- again
curl --fail --silent --show-error --cacert "$HUB_CA" --header "Authorization: Bearer $HUB_TOKEN" \
  --etag-save members.etag --etag-compare members.etag \
  --output members.csv "https://$HUB_ADDRESS/releases/latest/members.csv"
