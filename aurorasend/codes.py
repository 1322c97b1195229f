"""Every return code, said once: number, meaning, success or not. The envelope, the fields, the reference page and the
console read this table; no other text of a code exists anywhere.

Source: conventions.md §10 (the complete table), wording of the seed where it has the row. A number is unique but for 413, which
is a routing error for every path and "duplicate phone numbers" of the SMS API (conventions.md §10.1, §10.9).
"""

from collections.abc import Mapping
from enum import Enum, Flag


class Mark(Flag):
    FAILS = 0
    OK = 1  # the answer's `result` is true
    INTERNAL = 2  # never the answer of a request: a verdict of a step, or a success that is told as 200 (conventions.md §5.2)


FAILS, OK, INTERNAL = Mark.FAILS, Mark.OK, Mark.INTERNAL


# fmt: off
class Code(Enum):
    SUCCESS                         = 200, "Request was successful", OK, "request was successful"
    SMS_SOME_REFUSED                = 311, "part of the numbers were accepted", OK
    SMS_ALL_REFUSED                 = 312, "all numbers were refused"
    NOT_FOUND                       = 404, "Not Found"
    METHOD_NOT_ALLOWED              = 405, "Method Not Allowed"
    SMS_PHONE_EMPTY                 = 411, "phone cannot be empty"
    SMS_PHONE_INVALID               = 412, "invalid phone number"
    BODY_TOO_LARGE                  = 413, "Payload Too Large"
    SMS_PHONE_REPEATED              = 413, "duplicate phone numbers"
    SMS_SIGNATURE_INVALID           = 421, "signature parameter error"
    SMS_SIGNATURE_MISMATCH          = 422, "signature error"
    SMS_TEMPLATE_UNKNOWN            = 431, "template does not exist"
    SMS_TEMPLATE_NOT_APPROVED       = 432, "template not submitted or not approved"
    SMS_TEMPLATE_EMPTY              = 433, "templateId cannot be empty"
    SMS_VARS_INVALID                = 441, "invalid vars format"
    SMS_SCHEDULE_INVALID            = 451, "invalid scheduled time format"
    SMS_SCHEDULE_PAST               = 452, "scheduled time is in the past"
    SMS_TIMESTAMP_INVALID           = 461, "invalid timestamp, too far from server time"
    SMS_USER_UNKNOWN                = 471, "smsUser does not exist"
    SMS_USER_EMPTY                  = 472, "smsUser cannot be empty"
    SMS_NOT_ENABLED                 = 473, "no permission, free users cannot send SMS"
    SMS_ACCOUNT_UNKNOWN             = 474, "user does not exist"
    SMS_TOS_EMPTY                   = 481, "phone and vars cannot be empty"
    SMS_TOS_INVALID                 = 482, "invalid phone and vars format"
    SMS_VARIABLE_TOO_LONG           = 483, "variable longer than 32 characters"
    SMS_TOO_MANY_PER_MINUTE         = 496, "too many messages to this number in one minute"
    SMS_TOO_MANY_PER_FIVE_MINUTES   = 497, "too many messages to this number in five minutes"
    SMS_TOO_MANY_PER_DAY            = 498, "too many messages to this number in one day"
    SMS_QUOTA_EXCEEDED              = 499, "insufficient account quota"
    SERVER_EXCEPTION                = 501, "Server exception"
    SMS_NOT_PERMITTED               = 601, "no permission to access"
    NOT_PERMITTED                   = 6001, "You don't have permission to access"
    REQUEST_ID_REUSED               = 40000, "sendRequestId was used within the hour with different content"
    START_EMPTY                     = 40001, "start cannot be empty"
    START_INVALID                   = 40002, "Invalid start parameter"
    LIMIT_EMPTY                     = 40003, "limit cannot be empty"
    LIMIT_INVALID                   = 40004, "Invalid limit parameter"
    AUTHENTICATION_FAILED           = 40005, "Authentication failed (check api_user/api_key)", FAILS, "authentication failed"
    DAYS_INVALID                    = 40006, "Invalid days format; must be an integer greater than zero"
    START_DATE_INVALID              = 40007, 'Invalid startDate format (e.g., "2013-03-19")'
    END_DATE_INVALID                = 40008, 'Invalid endDate format (e.g., "2013-03-19")'
    LABEL_ID_LIST_EMPTY             = 40009, "labelIdList cannot be empty"
    API_USER_LIST_EMPTY             = 40010, "apiUserList cannot be empty"
    EMAIL_EMPTY                     = 40011, "Email cannot be empty"
    EMAIL_INVALID                   = 40012, "Invalid email format"
    DOMAIN_LIST_EMPTY               = 40013, "domainList cannot be empty"
    STATISTICS_LABEL_EMPTY          = 40014, "Label ID cannot be empty"
    STATISTICS_LABEL_INVALID        = 40015, "Invalid label ID format"
    API_USER_LIST_INVALID           = 40016, "Invalid apiUserList format"
    AGGREGATE_INVALID               = 40017, "Invalid format of aggregation parameters"
    LABEL_CREATED                   = 40100, "Label was successfully created", OK | INTERNAL
    LABEL_NOT_CREATED               = 40101, "Failed to create label"
    LABEL_ID_EMPTY                  = 40102, "Label ID cannot be empty"
    LABEL_ID_INVALID                = 40103, "Invalid label ID"
    LABEL_NAME_EMPTY                = 40104, "Label name cannot be empty"
    LABEL_NAME_LENGTH               = 40105, "Label name should be 1-255 characters"
    LABEL_UNKNOWN                   = 40106, "The label corresponding to label ID does not exist"
    LABEL_DELETED                   = 40107, "Label was successfully deleted", OK | INTERNAL
    LABEL_NOT_DELETED               = 40108, "Failed to delete label"
    LABEL_UPDATED                   = 40109, "Label was successfully updated", OK | INTERNAL
    LABEL_NOT_UPDATED               = 40110, "Failed to update label"
    QUERY_EMPTY                     = 40111, "Query cannot be empty"
    QUERY_LENGTH                    = 40112, "Query should be 1-255 characters"
    LABEL_NAME_TAKEN                = 40113, "Label name already exists"
    INVOKE_NAME_EMPTY               = 40201, "invokeName cannot be empty"
    INVOKE_NAME_INVALID             = 40202, "Invalid invokeName format"
    TEMPLATE_TYPE_EMPTY             = 40203, "Template type cannot be empty"
    TEMPLATE_TYPE_INVALID           = 40204, "Invalid template type; can only be 0 or 1"
    TEMPLATE_STAT_EMPTY             = 40205, "templateStat cannot be empty"
    TEMPLATE_STAT_INVALID           = 40206, "Invalid templateStat; can only be -1, -2, 1, or 0"
    TEMPLATE_NAME_EMPTY             = 40207, "Name cannot be empty"
    TEMPLATE_NAME_INVALID           = 40208, "Invalid name format"
    TEMPLATE_SUBJECT_EMPTY          = 40209, "Subject cannot be empty"
    TEMPLATE_SUBJECT_INVALID        = 40210, "Invalid subject format"
    TEMPLATE_HTML_EMPTY             = 40211, "HTML cannot be empty"
    TEMPLATE_HTML_INVALID           = 40212, "Invalid HTML format"
    TEMPLATE_TEXT_EMPTY             = 40213, "Text cannot be empty"
    TEMPLATE_TEXT_INVALID           = 40214, "Invalid text format"
    TEMPLATE_NOT_CREATED            = 40215, "Failed to create template"
    TEMPLATE_UNKNOWN                = 40216, "The template corresponding to invokeName does not exist"
    TEMPLATE_NOT_DELETED            = 40217, "Failed to delete template"
    TEMPLATE_NOT_UPDATED            = 40218, "Failed to update template"
    TEMPLATE_TOO_MANY               = 40219, "User can have no more than 50 templates"
    INVOKE_NAME_TAKEN               = 40220, "invokeName already exists"
    SUBMIT_AUDIT_EMPTY              = 40221, "isSubmitAudit cannot be empty"
    SUBMIT_AUDIT_INVALID            = 40222, "Invalid isSubmitAudit format"
    TEMPLATE_UNDER_REVIEW           = 40223, "Template is pending approval and cannot be modified"
    CANCEL_EMPTY                    = 40224, "Cancel cannot be empty"
    CANCEL_INVALID                  = 40225, "Invalid cancel format"
    TEMPLATE_ALREADY_SUBMITTED      = 40226, "Template is pending approval; do not submit again"
    TEMPLATE_ALREADY_APPROVED       = 40227, "Template has been approved; do not submit again"
    TEMPLATE_REVIEW_FAILED          = 40228, "Template not approved; do not withdraw the approval request"
    TEMPLATE_NEVER_SUBMITTED        = 40229, "Template not submitted for approval; unable to withdraw approval request"
    INVOKE_NAME_AND_DATES_EMPTY     = 40230, "invokeName and date range cannot both be empty"
    TASK_ID_INVALID                 = 40231, "Invalid taskId; must be a number"
    TASK_NAME_EMPTY                 = 40232, "taskName cannot be empty"
    TASK_NAME_LENGTH                = 40233, "taskName should be no more than 256 characters"
    RUN_TIME_EMPTY                  = 40234, "runTime cannot be empty"
    RUN_TIME_INVALID                = 40235, "Invalid runTime format; must be yyyy-MM-dd HH:mm:ss"
    RUN_TIME_PAST                   = 40236, "runTime must be in the future"
    FILE_NAME_EMPTY                 = 40237, "File name cannot be empty"
    FILE_NAME_LENGTH                = 40238, "File name should be no more than 255 characters"
    FILE_EXTENSION_EMPTY            = 40239, "File name has no extension"
    FILE_EXTENSION_FORBIDDEN        = 40240, "File extension is not allowed"
    STORAGE_FULL                    = 40241, "Storage space is used up"
    TASK_CREATED                    = 40242, "Scheduled task was successfully created", OK
    TASK_NOT_CREATED                = 40243, "Failed to create scheduled task"
    TASK_DELETED                    = 40244, "Scheduled task was successfully deleted", OK
    TASK_NOT_DELETED                = 40245, "Failed to delete scheduled task"
    TASK_UPDATED                    = 40246, "Scheduled task was successfully updated", OK
    TASK_NOT_UPDATED                = 40247, "Failed to update scheduled task"
    FILE_NOT_UPLOADED               = 40248, "Failed to upload file"
    RUN_TIME_TOO_SOON               = 40249, "With attachments, runTime must be at least 5 minutes ahead"
    TASK_REPEATED                   = 40250, "Scheduled task was already created"
    TASK_UPDATED_TOO_OFTEN          = 40251, "Scheduled task is updated too often"
    TASK_UNKNOWN                    = 40252, "The task corresponding to task ID does not exist"
    TASK_DELETE_TOO_LATE            = 40253, "Only tasks that have not started can be deleted"
    TASK_UPDATE_TOO_LATE            = 40254, "Only tasks that have not started can be updated"
    ADDRESS_LIST_WITHOUT_MEMBERS    = 40255, "Address list has no members"
    FILE_UPLOAD_TIMEOUT             = 40256, "File upload timed out"
    FROM_TOO_LONG                   = 40257, "fromAddress should be no more than 128 characters"
    EMPTY_ATTACHMENTS_INVALID       = 40258, "emptyExistedAttachments is required and can only be 0 or 1"
    USER_UNKNOWN                    = 40301, "User does not exist"
    UNSUBSCRIBE_ADDED               = 40401, "Unsubscribe record was successfully added", OK, "request was successful"
    UNSUBSCRIBE_NOT_ADDED           = 40402, "Failed to add unsubscribe record"
    UNSUBSCRIBE_REMOVED             = 40403, "Unsubscribe record was successfully removed", OK | INTERNAL
    UNSUBSCRIBE_NOT_REMOVED         = 40404, "Failed to remove unsubscribe record"
    ADDRESS_LIST_NAME_EMPTY         = 40501, "Name cannot be empty"
    ADDRESS_LIST_NAME_LENGTH        = 40502, "Address list name should be 1-48 characters"
    ADDRESS_LIST_ALIAS_EMPTY        = 40503, "Address cannot be empty"
    ADDRESS_LIST_ALIAS_LENGTH       = 40504, "Address list alias should be 1-48 characters"
    ADDRESS_LIST_ALIAS_TAKEN        = 40505, "Address list alias already exists"
    ADDRESS_LIST_DESCRIPTION_EMPTY  = 40506, "Description cannot be empty"
    ADDRESS_LIST_DESCRIPTION_LENGTH = 40507, "Address list description should be 1-250 characters"
    ADDRESS_LIST_NOT_CREATED        = 40508, "Failed to create address list"
    NEW_ALIAS_EMPTY                 = 40509, "newAddress cannot be empty"
    NEW_ALIAS_LENGTH                = 40510, "New address list alias should be 1-48 characters"
    ADDRESS_LIST_ALIAS_INVALID      = 40511, "Invalid address parameter"
    MEMBERS_EMPTY                   = 40512, "members cannot be empty"
    MEMBER_LENGTH                   = 40513, "Member address should be 1-48 characters"
    MEMBERS_NONE                    = 40514, "Number of member addresses should be more than 0"
    MEMBERS_TOO_MANY                = 40515, "Number of member addresses should be no more than 1000"
    MEMBER_NOT_ADDED                = 40516, "Failed to add member"
    ADDRESS_LIST_NOT_YOURS          = 40517, "Address list does not belong to the user"
    MEMBER_INVALID                  = 40518, "Member address does not conform to the specification"
    MEMBER_NOT_DELETED              = 40519, "Failed to delete member"
    MEMBER_VARS_EMPTY               = 40520, "vars cannot be empty"
    MEMBER_VARS_COUNT               = 40521, "Number of vars differs from the number of members"
    MEMBER_VARS_NOT_JSON            = 40522, "Variables parameter does not adhere to JSON string syntax"
    MEMBER_VARS_TOO_LONG            = 40531, "Variables of a member should be no more than 1024 characters"
    BOUNCE_REMOVED                  = 40601, "Bounce record was successfully removed", OK | INTERNAL
    BOUNCE_NOT_REMOVED              = 40602, "Failed to remove bounce record"
    ADDRESS_ALREADY_LISTED          = 40603, "Address is already listed"
    EXPIRY_DATE_INVALID             = 40604, "Invalid expiry date format; must be yyyy-MM-dd"
    WEBHOOK_GROUP_EMPTY             = 40701, "Group ID cannot be empty"
    WEBHOOK_GROUP_INVALID           = 40702, "Invalid group ID format"
    WEBHOOK_EVENT_EMPTY             = 40703, "Event type cannot be empty"
    WEBHOOK_EVENT_INVALID           = 40704, "Invalid event type"
    WEBHOOK_URL_EMPTY               = 40705, "URL cannot be empty"
    WEBHOOK_URL_INVALID             = 40706, "Invalid URL format"
    WEBHOOK_URL_FAILED              = 40707, "URL test call failed"
    WEBHOOK_URL_TAKEN               = 40708, "URL is already configured"
    WEBHOOK_UNKNOWN                 = 40709, "The webhook corresponding to the ID does not exist"
    WEBHOOK_NOT_CREATED             = 40710, "Failed to create webhook"
    WEBHOOK_NOT_DELETED             = 40711, "Failed to delete webhook"
    WEBHOOK_NOT_UPDATED             = 40712, "Failed to update webhook"
    FROM_EMPTY                      = 40801, "fromAddress cannot be empty"
    FROM_INVALID                    = 40802, "Invalid fromAddress format"
    FROM_NAME_EMPTY                 = 40803, "fromName cannot be empty"
    FROM_NAME_INVALID               = 40804, "Invalid fromName format"
    TO_EMPTY                        = 40805, "Recipient address cannot be empty"
    TO_INVALID                      = 40806, "Illegal addresses in the recipient address list"
    TO_TOO_MANY                     = 40807, "Recipient addresses should be no more than 100"
    SUBJECT_EMPTY                   = 40808, "Subject cannot be empty"
    SUBJECT_INVALID                 = 40809, "Invalid subject format"
    REPLY_TO_EMPTY                  = 40810, "replyto cannot be empty"
    REPLY_TO_INVALID                = 40811, "Invalid replyto format"
    XSMTPAPI_EMPTY                  = 40812, "xsmtpapi cannot be empty"
    XSMTPAPI_INVALID                = 40813, "Invalid xsmtpapi structure"
    XSMTPAPI_NULL                   = 40814, "xsmtpapi holds nothing"
    XSMTPAPI_TO_MISSING             = 40815, 'xsmtpapi has no "to"'
    XSMTPAPI_TO_EMPTY               = 40816, '"to" of xsmtpapi cannot be empty'
    XSMTPAPI_NOT_JSON               = 40817, "xsmtpapi is not valid JSON"
    ATTACHMENT_EMPTY                = 40818, "Attachment cannot be empty"
    ATTACHMENTS_TOO_LARGE           = 40819, "Attachments should be no more than 10485760 bytes"
    ADDRESS_LIST_NOT_ALLOWED        = 40820, "No permission to use address lists"
    ADDRESS_LIST_TASK_CREATED       = 40821, "Address list task was successfully created", OK
    ADDRESS_LIST_TASK_NOT_CREATED   = 40822, "Failed to create address list task"
    MAIL_TEMPLATE_UNKNOWN           = 40823, "Template does not exist"
    MAIL_TEMPLATE_NOT_APPROVED      = 40824, "Template is not approved"
    MAIL_TEMPLATE_TYPE_DIFFERS      = 40825, "Template type differs from the type of the apiUser"
    MAIL_TEMPLATE_SUBJECT_EMPTY     = 40826, "Subject cannot be empty in both the request and the template"
    XSMTPAPI_TO_TOO_MANY            = 40827, '"to" of xsmtpapi should be no more than 100'
    RECEIPT_EMPTY                   = 40828, "Notification address cannot be empty"
    RECEIPT_INVALID                 = 40829, "Invalid notification address format"
    PLAIN_EMPTY                     = 40830, "plain cannot be empty"
    PLAIN_INVALID                   = 40831, "Invalid plain format"
    START_TIME_EMPTY                = 40832, "startTime cannot be empty"
    START_TIME_INVALID              = 40833, "Invalid startTime format"
    END_TIME_EMPTY                  = 40834, "endTime cannot be empty"
    END_TIME_INVALID                = 40835, "Invalid endTime format"
    TITLE_EMPTY                     = 40836, "title cannot be empty"
    TITLE_INVALID                   = 40837, "Invalid title format"
    ORGANIZER_NAME_EMPTY            = 40838, "organizerName cannot be empty"
    ORGANIZER_NAME_INVALID          = 40839, "Invalid organizerName format"
    ORGANIZER_EMAIL_EMPTY           = 40840, "organizerEmail cannot be empty"
    ORGANIZER_EMAIL_INVALID         = 40841, "Invalid organizerEmail format"
    LOCATION_EMPTY                  = 40842, "location cannot be empty"
    LOCATION_INVALID                = 40843, "Invalid location format"
    DESCRIPTION_EMPTY               = 40844, "description cannot be empty"
    DESCRIPTION_INVALID             = 40845, "Invalid description format"
    PARTICIPATOR_NAMES_EMPTY        = 40846, "participatorNames cannot be empty"
    PARTICIPATOR_NAMES_INVALID      = 40847, "Invalid participatorNames format"
    PARTICIPATOR_EMAILS_EMPTY       = 40848, "participatorEmails cannot be empty"
    PARTICIPATOR_EMAILS_INVALID     = 40849, "Invalid participatorEmails format"
    PARTICIPATORS_COUNT             = 40850, "Number of participatorNames differs from the number of participatorEmails"
    CALENDAR_NOT_BUILT              = 40851, "Failed to build the calendar mail"
    CC_EMPTY                        = 40852, "cc cannot be empty"
    CC_INVALID                      = 40853, "Illegal addresses in the cc list"
    CC_TOO_MANY                     = 40854, "cc addresses should be no more than 100"
    BCC_EMPTY                       = 40855, "bcc cannot be empty"
    BCC_INVALID                     = 40856, "Illegal addresses in the bcc list"
    BCC_TOO_MANY                    = 40857, "bcc addresses should be no more than 100"
    RESP_EMAIL_ID_EMPTY             = 40858, "respEmailId cannot be empty"
    RESP_EMAIL_ID_INVALID           = 40859, "Invalid respEmailId format"
    GZIP_EMPTY                      = 40860, "gzipCompress cannot be empty"
    GZIP_INVALID                    = 40861, "Invalid gzipCompress format"
    LIST_ALIAS_INVALID              = 40862, "Invalid address list alias in the recipient list"
    LIST_ALIAS_UNKNOWN              = 40863, "Unknown address list alias in the recipient list, to"
    LIST_TOO_MANY                   = 40864, "Address lists should be no more than 5"
    HTML_NOT_GZIP                   = 40865, "html could not be decompressed"
    PLAIN_NOT_GZIP                  = 40866, "plain could not be decompressed"
    ATTACHMENT_INVALID              = 40867, "Attachment could not be processed"
    HEADERS_EMPTY                   = 40868, "headers cannot be empty"
    HEADERS_INVALID                 = 40869, "Invalid headers format"
    CONTENT_EMPTY                   = 40870, "HTML and plain cannot both be empty"
    HTML_INVALID                    = 40871, "HTML format error"
    LIST_ALIAS_EMPTY                = 40872, "Address list alias cannot be empty"
    USE_ADDRESS_LIST_EMPTY          = 40873, "useAddressList cannot be empty"
    USE_ADDRESS_LIST_INVALID        = 40874, "Invalid useAddressList format"
    EMBEDDED_COUNT                  = 40875, "Number of embedded IDs differs from the number of embedded files"
    IS_CANCEL_INVALID               = 40876, "Invalid isCancel format"
    SUMMARY_EMPTY                   = 40877, "contentSummary cannot be empty"
    SUMMARY_TOO_LONG                = 40878, "contentSummary should be no more than 200 bytes"
    REPLY_TO_TOO_MANY               = 40879, "replyto cannot be more than 3"
    XSMTPAPI_TO_INVALID             = 40880, 'Invalid email format in field "to" of xsmtpapi'
    RECIPIENT_NOT_REGISTERED        = 40886, "A test apiUser can only send to registered test recipients"
    SEND_FAILED                     = 40901, "Email sending failed"
    MAIL_FAULT                      = 40902, "Unknown error when processing email"
    MAIL_SENT                       = 40903, "Email sent successfully", OK | INTERNAL
    QUOTA_CHECK_FAILED              = 40904, "Quota check failed"
    QUOTA_CHECK_PASSED              = 40905, "Quota check passed", OK | INTERNAL
    QUOTA_CHECK_PASSED_FOR_NOW      = 40906, "Quota check temporarily passed", OK | INTERNAL
    MATCH_NOT_NEEDED                = 40907, "No need to match template for corresponding content of the API-USER", OK | INTERNAL
    MATCH_FAILED                    = 40908, "Email content does not match template"
    MATCHED                         = 40909, "Email content matches template", OK | INTERNAL
    MATCHED_FOR_NOW                 = 40910, "Email content temporarily matches template", OK | INTERNAL
    MATCH_FAULT                     = 40911, "Error occurred when matching email content and template"
    BALANCE_TOO_LOW                 = 40912, "Your account balance is insufficient; please recharge soon"
    QUOTA_EXCEEDED                  = 40913, "Request quota exceeded"
    DOMAIN_EMPTY                    = 41001, "Name cannot be empty"
    DOMAIN_LENGTH                   = 41002, "Name should be 1-250 characters"
    DOMAIN_INVALID                  = 41003, "Name does not conform to domain specification"
    NEW_DOMAIN_EMPTY                = 41004, "newName cannot be empty"
    NEW_DOMAIN_LENGTH               = 41005, "newName should be 1-250 characters"
    NEW_DOMAIN_INVALID              = 41006, "newName does not conform to domain specification"
    DOMAIN_TYPE_EMPTY               = 41007, "Type cannot be empty"
    DOMAIN_TYPE_INVALID             = 41008, "Type does not conform to specification"
    VERIFY_EMPTY                    = 41009, "verify cannot be empty"
    VERIFY_INVALID                  = 41010, "verify does not conform to specification"
    VERIFY_UNPARSABLE               = 41011, "verify expression could not be parsed"
    DOMAIN_TOO_MANY                 = 41012, "User can create no more than 5 domains"
    DOMAIN_NOT_ONE                  = 41013, "Name can only hold one domain"
    DOMAIN_UNKNOWN                  = 41014, "Domain does not exist"
    DOMAIN_NOT_CREATED              = 41015, "Failed to create domain"
    DOMAIN_NOT_UPDATED              = 41016, "Failed to modify domain"
    EMAIL_TYPE_EMPTY                = 41101, "emailType cannot be empty"
    EMAIL_TYPE_INVALID              = 41102, "Invalid emailType"
    C_TYPE_EMPTY                    = 41103, "cType cannot be empty"
    C_TYPE_INVALID                  = 41104, "Invalid cType"
    DOMAIN_NAME_EMPTY               = 41105, "domainName cannot be empty"
    DOMAIN_NAME_INVALID             = 41106, "Invalid domainName"
    DOMAIN_NAME_LENGTH              = 41107, "domainName should be 1-250 characters"
    BOUND_DOMAIN_UNKNOWN            = 41108, "The domain to bind does not exist"
    API_USER_UNKNOWN                = 41109, "User information does not exist"
    API_USER_EMPTY                  = 41110, "Name cannot be empty"
    API_USER_INVALID                = 41111, "Name does not conform to specification (should be 6-32 characters; only numbers and letters allowed)"  # noqa: E501 one line per code
    API_USER_TOO_MANY               = 41112, "apiUser should be no more than 10"
    OPEN_EMPTY                      = 41113, "open cannot be empty"
    OPEN_INVALID                    = 41114, "Invalid open; can only be 0 or 1"
    CLICK_EMPTY                     = 41115, "click cannot be empty"
    CLICK_INVALID                   = 41116, "Invalid click; can only be 0 or 1"
    UNSUBSCRIBE_EMPTY               = 41117, "unsubscribe cannot be empty"
    UNSUBSCRIBE_INVALID             = 41118, "Invalid unsubscribe; can only be 0 or 1"
    API_USER_NOT_CREATED            = 41119, "Failed to create apiUser"
    URL_INVALID                     = 49901, "Invalid URL format"
    HTTP_ABNORMAL                   = 49902, "Abnormal HTTP request"
    HTTP_FAILED                     = 49903, "HTTP request failed"
    HTTP_DONE                       = 49904, "HTTP request was successful", OK | INTERNAL
    HTTP_ANSWER_INVALID             = 49905, "HTTP result parsing error"
    HTTP_OTHER                      = 49906, "Other errors"
    FREQUENCY_LIMITED               = 50000, "Interface frequency limited"
    SEND_FREQUENCY_LIMITED          = 50001, "Mail sending failed; 536 frequency limited"
    SENDER_EMPTY                    = 51001, "Sender cannot be empty"
    SENDER_LENGTH                   = 51002, "Sender should be no more than 250 characters"
    SENDER_PREFIX_INVALID           = 51003, 'Sender prefix cannot contain "@"'
    SENDER_DOMAIN_LENGTH            = 51004, "Sender domain should be no more than 250 characters"
    SENDER_UNKNOWN                  = 51005, "The sender to delete does not exist"
    SENDER_DELETED                  = 51006, "Sender was successfully deleted", OK
    CATEGORY_NAME_EMPTY             = 51007, "categoryName cannot be empty"
    MAIL_LOG_NOT_ENABLED            = 51009, "Mail log query is not enabled"
# fmt: on

    def __init__(self, number: int, meaning: str, mark: Mark = FAILS, message: str = "") -> None:
        self.number = number
        self.meaning = meaning
        self.ok = OK in mark
        self.internal = INTERNAL in mark
        self.message = message or meaning  # what the envelope says; the seed words two of them apart from its table


class Refused(Exception):
    """The caller's doing. `detail` follows the code's message after a colon, `message` replaces it.

    `info` is the envelope's payload, which only 312 has (sms.md §4.1).
    """

    def __init__(self, code: Code, detail: str = "", *, message: str = "", info: Mapping[str, object] | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.message = message or code.message
        self.info = info or {}

    @property
    def text(self) -> str:
        """What the caller reads; clients must not parse it (conventions.md §5)."""
        return f"{self.message}: {self.detail}" if self.detail else self.message


class Unavailable(Exception):
    """Our store or network does not answer; the caller may repeat the request."""


class Undone(Unavailable):
    """And surely nothing was changed."""
